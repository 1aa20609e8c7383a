"""Both Inceptions, with random weights: which layers are taken, and what goes wrong."""

import pickle
import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from torch import nn
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity import feature_extractor_inceptionv3 as upstream

from mpqbench.core.errors import BenchError
from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.images import open_images

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


class Bare(FeatureExtractorInceptionV3):
    """torch-fidelity's network before any weights are loaded."""

    def load_state_dict(self, state):
        pass


class Stub(nn.Module):
    """A TorchScript network of clean-fid's interface: ``layers`` from 299x299 RGB to 2048."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.AvgPool2d(13), nn.Flatten(), nn.Linear(3 * 23 * 23, 2048), nn.ReLU()
        )

    def forward(self, images):
        return self.layers(images)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of random weights by the name of the network."""
    folder = tmp_path_factory.mktemp("inception")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream, "load_state_dict_from_url", lambda *args, **options: {})
        state = Bare("bare", ["2048"]).state_dict()
    generator = torch.Generator().manual_seed(0)
    for value in state.values():
        if value.ndim == 4:
            nn.init.kaiming_normal_(value, generator=generator)
        elif value.ndim == 2:
            value.normal_(0, 0.05, generator=generator)
    torch.save(state, folder / "random.pth")
    torch.manual_seed(0)
    torch.jit.script(Stub()).save(str(folder / "inception-2015-12-05.pt"))
    files = {"inception-adm": "random.pth", "clean-fid": "inception-2015-12-05.pt"}
    return {name: folder / file for name, file in files.items()}


@pytest.fixture(scope="module")
def images():
    coarse = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3))
    return np.kron(coarse, np.ones((1, 6, 6, 1))).astype(np.uint8)


def test_features_of_inception_are_those_of_torch_fidelity(weights, images):
    """Pooled and logits are compared with its own network, spatial with a hook of our own."""
    path = weights["inception-adm"]
    features = load_extractor("inception-adm", path).extract(open_images(images), batch_size=2)
    names, options = ["2048", "logits_unbiased"], {"feature_extractor_weights_path": str(path)}
    network, seen = FeatureExtractorInceptionV3("own", names, **options), {}
    network.Mixed_6d.register_forward_hook(lambda m, i, o: seen.update(block=o, inputs=i[0]))
    with torch.inference_mode():
        pooled, logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
        convolution = network.Mixed_6d.branch1x1
        branch = torch.relu(convolution.bn(convolution.conv(seen["inputs"]))).numpy()
    assert (pooled.shape, logits.shape, branch.shape) == ((3, 2048), (3, 1008), (3, 192, 17, 17))
    np.testing.assert_allclose(features.pooled, pooled, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(features.logits, logits, atol=float(1e-4 * logits.abs().max()))
    assert np.ptp(features.pooled, axis=0).max() > 0.1  # the images are told apart
    by_index, scale = features.spatial.reshape(3, 17, 17, 7), np.abs(branch).max()
    for channel in range(7):
        np.testing.assert_allclose(by_index[..., channel], branch[:, channel], atol=1e-4 * scale)
    assert features.spatial.min() == 0.0  # after the ReLU
    # The concatenated output of the block starts with the same branch.
    np.testing.assert_allclose(seen["block"][:, :192].numpy(), branch, atol=1e-4 * scale)


def test_features_of_clean_fid_are_those_of_its_own_package(weights, images):
    path, resize = weights["clean-fid"], build_resizer("clean")
    resized = np.stack([resize(image) for image in images])
    with torch.inference_mode():
        network = InceptionV3W(str(path.parent), download=False)
        expected = network(torch.from_numpy(resized).permute(0, 3, 1, 2))
    features = load_extractor("clean-fid", path).extract(open_images(images), batch_size=2)
    np.testing.assert_allclose(features.pooled, expected, rtol=1e-4, atol=1e-5)
    assert (features.spatial, features.logits) == (None, None)
    assert np.ptp(features.pooled, axis=0).max() > 1e-2


@pytest.mark.parametrize("name", ["inception-adm", "clean-fid"])
def test_a_failed_download_says_what_to_do(monkeypatch, tmp_path, name):
    def offline(*args, **options):
        raise URLError("no network")

    monkeypatch.setattr(upstream, "load_state_dict_from_url", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(BenchError, match=r"no network.*--feature-weights PATH"):
        load_extractor(name)


def test_an_absent_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanfid.resize", None)
    with pytest.raises(BenchError, match=r"pip install '\.\[clean-fid\]'"):
        load_extractor("clean-fid")


class Payload:
    def __reduce__(self):
        return print, ("this code must not run",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:.torch.load. received a zip")
@pytest.mark.parametrize("name", ["inception-adm", "clean-fid"])
def test_files_of_other_content_are_refused_and_no_code_in_them_runs(tmp_path, capsys, name):
    (tmp_path / "text").write_text("no weights", encoding="utf-8")
    (tmp_path / "pickle").write_bytes(pickle.dumps(Payload()))
    torch.save({"a": torch.zeros(2)}, tmp_path / "other")
    torch.save([1, 2], tmp_path / "list")
    torch.save({"a": Payload()}, tmp_path / "code")
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script"))
    for path in tmp_path.iterdir():
        with pytest.raises(BenchError, match=rf"{path.name} (does not hold|is not)"):
            load_extractor(name, path)
    assert "must not run" not in capsys.readouterr().out
