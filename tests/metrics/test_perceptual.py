"""LPIPS, against torchmetrics' own class and against the formula of the paper."""

from inspect import getfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from judging_networks import save_alexnet
from safetensors.torch import save_file
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
from torchvision.models import alexnet

from mpqbench.core.errors import BenchError
from mpqbench.metrics.perceptual import PerceptualDistance, lpips_missing

LAYERS = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))  # number, stride, padding


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights, its content and the network that reads it."""
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    state = save_alexnet(path)
    return SimpleNamespace(path=path, state=state, network=PerceptualDistance(path))


def pairs(count, *shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    noise = rng.normal(0, 40, images.shape)
    return images, (images + noise).clip(0, 255).astype(np.uint8)


def test_lpips_is_that_of_torchmetrics_own_class(weights, monkeypatch):
    theirs = alexnet(weights=None)
    convolutions = {k: v for k, v in weights.state.items() if k.startswith("features.")}
    assert not theirs.load_state_dict(convolutions, strict=False).unexpected_keys
    monkeypatch.setattr("torchvision.models.alexnet", lambda weights: theirs)
    metric = LearnedPerceptualImagePatchSimilarity("alex")
    images, other = pairs(12, 40, 64, 3)
    sides = [torch.from_numpy(s).permute(0, 3, 1, 2) / 127.5 - 1 for s in (images, other)]
    expected = [float(metric(sides[0][i : i + 1], sides[1][i : i + 1])) for i in range(12)]
    np.testing.assert_allclose(weights.network.distances(images, other), expected, rtol=1e-5)
    assert np.ptp(expected) > 0.01 * np.mean(expected)


def test_lpips_is_the_formula_of_the_paper(weights):
    images, other = pairs(3, 31, 50, 3)
    package = Path(getfile(torchmetrics)).parent / "functional/image/lpips_models/alex.pth"
    layers = torch.load(package, weights_only=True, map_location="cpu")
    linear = [layers[f"lin{k}.model.1.weight"].double().flatten() for k in range(5)]
    expected = []
    for pair in zip(images, other, strict=True):
        maps, total = [features(image, weights.state) for image in pair], 0.0
        for one, two, weight in zip(*maps, linear, strict=True):
            at_each = [
                float(weight @ (unit(one[:, y, x]) - unit(two[:, y, x])) ** 2)
                for y in range(one.shape[1])
                for x in range(one.shape[2])
            ]
            total += sum(at_each) / len(at_each)
        expected.append(total)
    np.testing.assert_allclose(weights.network.distances(images, other), expected, rtol=1e-4)


def features(image, state):
    """The five layers of AlexNet in float64, pooled before the second and the third."""
    x = torch.from_numpy(image).double().permute(2, 0, 1) / 127.5 - 1
    shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]]).double()
    x = ((x - shift[:, None, None]) / scale[:, None, None])[None]
    found = []
    for number, stride, padding in LAYERS:
        if number in (3, 6):
            x = F.max_pool2d(x, 3, 2)
        weight, bias = (state[f"features.{number}.{kind}"].double() for kind in ("weight", "bias"))
        x = F.relu(F.conv2d(x, weight, bias, stride, padding))
        found.append(x[0])
    return found


def unit(vector):
    return vector / (vector @ vector + 1e-8).sqrt()


def test_grey_images_are_repeated_over_three_channels(weights):
    images, other = pairs(2, 32, 32, 1)
    grey = weights.network.distances(images, other)
    assert (grey > 0).all()
    np.testing.assert_array_equal(
        grey, weights.network.distances(images.repeat(3, axis=3), other.repeat(3, axis=3))
    )


def test_a_value_depends_neither_on_the_number_of_pairs_nor_on_the_kind_of_file(weights, tmp_path):
    images, other = pairs(12, 32, 32, 3)
    found = weights.network.distances(images, other)
    np.testing.assert_array_equal(found[10:], weights.network.distances(images[10:], other[10:]))
    np.testing.assert_array_equal(weights.network.distances(images, images), 0.0)
    path = tmp_path / "alexnet.safetensors"
    save_file(weights.state, path)
    state = torch.get_rng_state()
    again = PerceptualDistance(path)
    assert torch.equal(state, torch.get_rng_state())
    assert again.digest == weights.network.digest
    np.testing.assert_array_equal(again.distances(images, other), found)


@pytest.mark.parametrize("side", [30, 31])
def test_the_smallest_size_is_that_of_alexnet(side, weights):
    images, other = pairs(1, side, 40, 3)
    if lpips_missing(images.shape[1:]) is None:
        assert np.isfinite(weights.network.distances(images, other)).all()
        return
    with pytest.raises(BenchError, match=r"at least 31x31 pixels, not 30x40"):
        weights.network.distances(images, other)
    with pytest.raises(RuntimeError, match="too small"):
        features(images[0], weights.state)


def test_pairs_of_two_shapes_are_refused(weights):
    images, other = pairs(2, 32, 32, 3)
    with pytest.raises(BenchError, match="cannot be paired"):
        weights.network.distances(images, other[:1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("features.6.bias"), "it lacks features.6.bias"),
        (lambda s: s.update({"features.0.bias": torch.ones(3)}), r"has shape \[3\], not \[64\]"),
        (lambda s: s.update({"features.0.bias": torch.full((64,), torch.nan)}), "NaN"),
        (lambda s: s.update({"features.0.bias": Path("a")}), "it is no file of tensors"),
    ],
)
def test_weights_that_are_no_alexnet_are_refused(weights, tmp_path, change, said):
    state, path = dict(weights.state), tmp_path / "other.pth"
    change(state)
    torch.save(state, path)
    with pytest.raises(BenchError, match=f"--lpips-weights .*other.pth .*{said}"):
        PerceptualDistance(path)


def test_a_missing_file_and_a_missing_package_are_named(tmp_path, monkeypatch):
    with pytest.raises(BenchError, match=r"absent\.pth is no file: give torchvision's"):
        PerceptualDistance(tmp_path / "absent.pth")
    monkeypatch.setattr("mpqbench.core.packages.find_spec", lambda name: None)
    with pytest.raises(BenchError, match="--lpips-weights needs the package torchmetrics"):
        PerceptualDistance(tmp_path / "absent.pth")
