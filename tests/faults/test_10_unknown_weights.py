"""10: distances in features of unknown weights are labelled FID."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

from mpqbench.cli.score import score as command
from mpqbench.core.errors import BenchError
from mpqbench.core.sources import read_digest
from mpqbench.metrics import inception
from mpqbench.metrics.fashion_net import FashionNet, _packaged
from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.reference import load_reference
from mpqbench.metrics.score import labels
from mpqbench.records.columns import frechet_names


class Stub(nn.Module):
    """Stands for clean-fid's Inception, at a thousandth of its size."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(99), nn.Flatten(), nn.Linear(27, 2048))

    def forward(self, images):
        return self.layers(images)


@pytest.fixture
def other(tmp_path):
    """FashionNet with other weights."""
    torch.manual_seed(0)
    save_file(FashionNet(4).state_dict(), tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_the_digest_of_the_file_decides_the_name(tmp_path, monkeypatch):
    path = tmp_path / "weights.pt"
    torch.jit.script(Stub()).save(str(path))
    network = load_extractor("clean-fid", path)
    assert network.title == f"clean-fid {network.digest[:8]}"
    assert labels(network.title)["fd"] == f"FD (clean-fid {network.digest[:8]})"
    digest = read_digest(path)
    monkeypatch.setitem(inception.PUBLISHED, "clean-fid", digest)
    assert load_extractor("clean-fid", path).title == "clean-fid"


def test_the_known_files_are_those_of_their_publishers():
    assert inception.PUBLISHED["inception-adm"][:8] == "6726825d"
    assert "6726825d" in inception.URL_INCEPTION_V3
    assert {len(digest) for digest in inception.PUBLISHED.values()} == {64}


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("inception-adm", ("FID", "sFID")),
        ("inception-adm 1a2b3c4d", ("FD (inception 1a2b3c4d)", "sFD (inception 1a2b3c4d)")),
        ("clean-fid 1a2b3c4d", ("FD (clean-fid 1a2b3c4d)", "sFD (clean-fid 1a2b3c4d)")),
        ("fashion 1a2b3c4d", ("FD (fashion 1a2b3c4d)", "sFD (fashion 1a2b3c4d)")),
        ("fashion", ("FD", "sFD")),
    ],
)
def test_tables_and_the_command_give_the_same_names(title, names):
    assert frechet_names(title) == names
    assert (labels(title)["fd"], labels(title)["sfd"]) == names


def test_packaged_weights_under_another_path_are_the_published_ones(tmp_path):
    same = tmp_path / "copy.safetensors"
    same.write_bytes(_packaged().read_bytes())
    assert load_extractor("fashion", same).title == "fashion"
    save_file({key: -value for key, value in load_file(same).items()}, same)
    assert load_extractor("fashion", same).title.startswith("fashion ")


def test_statistics_of_an_unnamed_network_need_published_weights(tmp_path, other):
    network = load_extractor("fashion", other)
    arrays = {"mu": np.zeros(16), "sigma": np.eye(16)}
    for stamps in ({}, {"extractor": "fashion"}):
        np.savez(tmp_path / "x.npz", **arrays, **stamps)
        with pytest.raises(BenchError, match="does not say which network made it"):
            load_reference(tmp_path / "x.npz", network)
    np.savez(tmp_path / "x.npz", **arrays, extractor="fashion", weights=network.digest)
    assert load_reference(tmp_path / "x.npz", network).pooled.mean.shape == (16,)


def test_every_label_has_the_digest(tmp_path, other):
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 1), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images)
    name = str(tmp_path / "images.npz")
    arguments = [name, "--reference", name, "--feature-weights", str(other), "--json"]
    result = json.loads(CliRunner().invoke(command, arguments).stdout)
    digest = result["features"]["weights"][:8]
    names = {metric["label"] for metric in result["metrics"].values()}
    assert {f"{each} (fashion {digest})" for each in ("FD", "sFD", "IS")} <= names
    assert all(name.endswith(f"(fashion {digest})") for name in names)


def test_a_record_has_the_digest_of_other_weights(mpqbench, other, tmp_path):
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "name: other\nmodels: [fashion-dit]\nmethods: [rtn]\nbudgets: [W8A8]\n"
        f"protocol: {{base: smoke, images: 4, steps: 1, calibration: 4, feature_weights: {other}, "
        f"reference: {tmp_path / 'images.npz'}}}\n",
        encoding="utf-8",
    )
    np.savez(tmp_path / "images.npz", np.zeros((4, 32, 32, 1), np.uint8))
    code, _, errors = mpqbench("run", suite, "--out", tmp_path / "out")
    assert code == 0, errors
    records = [
        json.loads(p.read_text(encoding="utf-8")) for p in (tmp_path / "out/records").glob("*.json")
    ]
    digest = load_extractor("fashion", other).digest[:8]
    assert {record["extractor"] for record in records} == {f"fashion {digest}"}
    notes = [note for record in records for note in record["notes"]]
    assert any("images.npz has 4 images for 16 features" in note for note in notes)
