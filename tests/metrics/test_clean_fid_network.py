from __future__ import annotations

import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from torch import nn

from mpqbench.core.errors import BenchError
from mpqbench.metrics.extractors import load_extractor
from mpqbench.metrics.images import open_images
from mpqbench.metrics.score import labels

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


class Stub(nn.Module):
    """A TorchScript network of the same interface: ``layers`` from 299x299 RGB to 2048."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.AvgPool2d(13), nn.Flatten(), nn.Linear(3 * 23 * 23, 2048), nn.ReLU()
        )

    def forward(self, images):
        return self.layers(images)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clean") / "inception-2015-12-05.pt"
    torch.jit.script(Stub()).save(str(path))
    return path


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)


def test_features_are_those_of_clean_fid(weights, images):
    network, resize = InceptionV3W(str(weights.parent), download=False), build_resizer("clean")
    resized = np.stack([resize(image) for image in images])
    with torch.inference_mode():
        expected = network(torch.from_numpy(resized).permute(0, 3, 1, 2))
    features = load_extractor("clean-fid", weights).extract(open_images(images), batch_size=2)
    np.testing.assert_allclose(features.pooled, expected, rtol=1e-4, atol=1e-5)
    assert features.spatial is None
    assert features.logits is None
    assert np.ptp(features.pooled, axis=0).max() > 1e-2


def test_grey_images_are_repeated_over_the_channels(weights, images):
    network, grey = load_extractor("clean-fid", weights), images[..., :1]
    colour = np.repeat(grey, 3, axis=3)
    np.testing.assert_array_equal(
        network.extract(open_images(grey), batch_size=3).pooled,
        network.extract(open_images(colour), batch_size=3).pooled,
    )


def test_its_distance_has_a_name_of_its_own():
    assert labels("clean-fid")["fd"] == "FID-clean"
    assert labels("inception-adm")["fd"] == "FID"
    assert labels("fashion")["fd"] == "FD"
    assert labels("anything-else")["sfd"] == "sFD"


def test_absent_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanfid.resize", None)
    with pytest.raises(BenchError, match=r"pip install 'mpqbench\[clean-fid\]'"):
        load_extractor("clean-fid")


def test_failed_download_tells_the_way_out(monkeypatch, tmp_path):
    def offline(*args, **options):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(BenchError, match=r"no network.*--feature-weights PATH"):
        load_extractor("clean-fid")


def test_files_that_are_not_its_network(tmp_path):
    (tmp_path / "text.pt").write_text("no network")
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "other.pt"))
    for name in ("text", "other"):
        with pytest.raises(BenchError, match=f"{name}.pt is not clean-fid's TorchScript"):
            load_extractor("clean-fid", tmp_path / f"{name}.pt")
