"""Inception with random weights: which layers are taken, in which order, and what goes wrong."""

from __future__ import annotations

import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity import feature_extractor_inceptionv3 as upstream
from torch_fidelity.utils import create_feature_extractor

from mpqbench.core.errors import BenchError
from mpqbench.metrics.extractors import load_extractor
from mpqbench.metrics.images import open_images
from mpqbench.metrics.torch_fidelity_extractors import INCEPTION, register_extractors


class Bare(FeatureExtractorInceptionV3):
    """torch-fidelity's network before any weights are loaded."""

    def load_state_dict(self, state):
        pass


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream, "load_state_dict_from_url", lambda *args, **options: {})
        state = Bare("bare", ["2048"]).state_dict()
    generator = torch.Generator().manual_seed(0)
    for value in state.values():
        if value.ndim == 4:
            torch.nn.init.kaiming_normal_(value, generator=generator)
        elif value.ndim == 2:
            value.normal_(0, 0.05, generator=generator)
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 8, 8, 3))
    return np.kron(coarse, np.ones((1, 6, 6, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def features(weights, images):
    return load_extractor("inception-adm", weights).extract(open_images(images), batch_size=2)


@pytest.fixture(scope="module")
def expected(weights, images):
    """torch-fidelity's own network, and the activations of the branch by a hook of our own."""
    names = ["2048", "logits_unbiased"]
    network = FeatureExtractorInceptionV3("own", names, feature_extractor_weights_path=str(weights))
    seen = {}
    network.Mixed_6d.register_forward_hook(lambda m, i, o: seen.update(block=o, inputs=i[0]))
    with torch.inference_mode():
        pooled, logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
        branch = torch.relu(
            network.Mixed_6d.branch1x1.bn(network.Mixed_6d.branch1x1.conv(seen["inputs"]))
        )
    return {"pooled": pooled, "logits": logits, "branch": branch, "block": seen["block"]}


def test_pooled_and_logits_are_those_of_torch_fidelity(features, expected):
    assert features.pooled.shape == (3, 2048)
    assert features.logits.shape == (3, 1008)
    np.testing.assert_allclose(features.pooled, expected["pooled"], rtol=1e-3, atol=1e-4)
    scale = expected["logits"].abs().max()
    np.testing.assert_allclose(features.logits, expected["logits"], atol=float(1e-4 * scale))
    assert np.ptp(features.pooled, axis=0).max() > 0.1  # the images are told apart


def test_spatial_features_are_seven_channels_in_nhwc_order(features, expected):
    branch = expected["branch"].numpy()
    assert branch.shape == (3, 192, 17, 17)
    assert features.spatial.shape == (3, 17 * 17 * 7)
    by_index = features.spatial.reshape(3, 17, 17, 7)
    scale = np.abs(branch).max()
    for channel in range(7):
        np.testing.assert_allclose(by_index[..., channel], branch[:, channel], atol=1e-4 * scale)
    assert features.spatial.min() == 0.0  # after the ReLU
    # The concatenated output of the block starts with the same branch.
    np.testing.assert_allclose(expected["block"][:, :192].numpy(), branch, atol=1e-4 * scale)


def test_grey_images_are_repeated_over_the_channels(weights, images):
    network = load_extractor("inception-adm", weights)
    grey = network.prepare(images[:1, :, :, :1])
    assert torch.equal(grey, network.prepare(np.repeat(images[:1, :, :, :1], 3, axis=3)))


def test_registered_extractor_gives_features_in_the_order_asked(weights, images, features):
    register_extractors()
    register_extractors()  # again: changes nothing
    network = create_feature_extractor(
        INCEPTION,
        ["spatial", "192"],
        cuda=False,
        verbose=False,
        feature_extractor_weights_path=str(weights),
    )
    with torch.inference_mode():
        spatial, shallow = network(torch.from_numpy(images[:1]).permute(0, 3, 1, 2))
    scale = features.spatial.max()
    np.testing.assert_allclose(spatial[0], features.spatial[0], atol=1e-4 * scale)
    assert shallow.shape == (1, 192)


def test_failed_download_tells_the_way_out(monkeypatch):
    def offline(*args, **options):
        raise URLError("no network")

    monkeypatch.setattr(upstream, "load_state_dict_from_url", offline)
    with pytest.raises(BenchError, match=r"no network.*--feature-weights PATH"):
        load_extractor("inception-adm")


def test_files_that_are_no_inception_weights(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("text", "other", "list"):
        with pytest.raises(BenchError, match=rf"{name}.pth (does not hold|is not a file)"):
            load_extractor("inception-adm", tmp_path / f"{name}.pth")


class Payload:
    def __reduce__(self):
        return print, ("this code must not run",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_code_in_a_weights_file_does_not_run(tmp_path, capsys):
    torch.save({"a": Payload()}, tmp_path / "new.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Payload()))
    for name in ("new", "old"):
        with pytest.raises(BenchError, match="plain PyTorch tensors"):
            load_extractor("inception-adm", tmp_path / f"{name}.pth")
    assert "must not run" not in capsys.readouterr().out
