from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mpqbench.core.errors import BenchError
from mpqbench.metrics.extractors import load_extractor
from mpqbench.metrics.fashion_net import FashionNet
from mpqbench.metrics.features import weights_digest
from mpqbench.metrics.images import open_images


@pytest.fixture
def extractor(fashion_weights):
    return load_extractor("fashion", fashion_weights)


def test_features_are_those_of_the_network(extractor, fashion_weights, make_images):
    images = make_images(7, seed=1)
    network = FashionNet(width=4).eval()
    network.load_state_dict(load_file(fashion_weights))
    with torch.inference_mode():
        scaled = torch.from_numpy(images).permute(0, 3, 1, 2) / 255 * 2 - 1
        expected = network(scaled)
    features = extractor.extract(open_images(images), batch_size=3)
    for ours, theirs in zip(features, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)
    assert features.pooled.shape == (7, extractor.dimension) == (7, 16)
    assert features.spatial.shape == (7, extractor.spatial_dimension) == (7, 448)
    assert features.logits.shape == (7, 10)


def test_features_do_not_depend_on_how_many_images_follow(extractor, make_images):
    images = make_images(9, seed=2)
    everything = extractor.extract(open_images(images), batch_size=4)
    for count in (1, 3, 4, 5):
        part = extractor.extract(open_images(images[:count]), batch_size=4)
        for ours, theirs in zip(part, everything, strict=True):
            np.testing.assert_array_equal(ours, theirs[:count])


def test_every_batch_has_the_full_size(extractor, make_images, monkeypatch):
    sizes, forward = [], extractor.forward
    monkeypatch.setattr(extractor, "forward", lambda x: sizes.append(len(x)) or forward(x))
    told = []
    extractor.extract(open_images(make_images(9, seed=2)), batch_size=4, advance=told.append)
    assert sizes == [4, 4, 4]
    assert told == [4, 4, 1]


def test_float32_is_exact_during_extraction_only(extractor, make_images, monkeypatch):
    seen, forward = [], extractor.forward

    def watched(inputs):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return forward(inputs)

    monkeypatch.setattr(extractor, "forward", watched)
    held = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        extractor.extract(open_images(make_images(2, seed=2)))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(held)
    assert seen == [("highest", False)]


def test_grey_in_three_channels_equals_grey(extractor, make_images):
    images = make_images(3, seed=3)
    colour = np.repeat(images, 3, axis=3)
    np.testing.assert_array_equal(
        extractor.extract(open_images(colour)).pooled,
        extractor.extract(open_images(images)).pooled,
    )
    colour[2, 5, 5, 1] ^= 1
    with pytest.raises(BenchError, match="these have colour"):
        extractor.extract(open_images(colour))


def test_other_sizes_are_refused(extractor):
    with pytest.raises(BenchError, match="need 32x32 images; array: 28x28"):
        extractor.extract(open_images(np.zeros((2, 28, 28, 1), np.uint8)))


def test_digest_is_of_the_values_and_not_of_the_file(extractor, fashion_weights, tmp_path):
    state = load_file(fashion_weights)
    save_file(dict(reversed(state.items())), tmp_path / "same.safetensors", {"note": "other"})
    assert load_extractor("fashion", tmp_path / "same.safetensors").digest == extractor.digest
    state["head.bias"][0] += 1e-3
    save_file(state, tmp_path / "other.safetensors")
    assert load_extractor("fashion", tmp_path / "other.safetensors").digest != extractor.digest


def test_digest_sees_shapes():
    flat, square = torch.nn.Linear(4, 1, bias=False), torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        flat.weight.fill_(1)
        square.weight.fill_(1)
    assert weights_digest(flat) != weights_digest(square)


def test_unknown_name_and_missing_file(tmp_path):
    with pytest.raises(BenchError, match="unknown feature network 'fashon'; did you mean"):
        load_extractor("fashon")
    with pytest.raises(BenchError, match="does not exist: --feature-weights"):
        load_extractor("fashion", tmp_path / "none.safetensors")


def test_weights_of_something_else(tmp_path):
    text, other = tmp_path / "text", tmp_path / "other"
    text.write_text("no weights")
    save_file({"a": torch.zeros(2)}, other)
    for path in (text, other):
        with pytest.raises(BenchError, match=f"{path.name} does not hold FashionNet weights"):
            load_extractor("fashion", path)


def test_device_that_is_not_there(fashion_weights):
    with pytest.raises(BenchError, match="device 'warp' cannot be used here"):
        load_extractor("fashion", fashion_weights, device="warp")


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, mpqbench.metrics, mpqbench.cli.score; "
        "print([m for m in ('torch', 'scipy', 'torch_fidelity', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
