"""The trainer of the embedded model: reads IDX files, resumes exactly, exports what loads."""

import gzip
import itertools
import json
import struct

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from mpqbench.dit.loading import load_model
from mpqbench.metrics.features import load_extractor
from mpqbench.metrics.reference import load_reference
from tools.embedded.data import load_split, read_idx
from tools.embedded.diffusion import Denoiser, Diffusion, build_transformer
from tools.embedded.loop import Stage, TrainingRun
from tools.train_embedded import main


def write_idx(path, array):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wb") as stream:
        stream.write(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def data(tmp_path):
    """80 random images in the files of the Debian package."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", rng.integers(0, 256, (80, 28, 28)))
        write_idx(folder / f"{split}-labels-idx1-ubyte", np.arange(80) % 10)
    return folder


def test_idx_files_are_read_and_padded_and_damaged_ones_named(data, tmp_path):
    images, labels = load_split(data, "train")
    assert (images.shape, images.dtype) == ((80, 1, 32, 32), torch.uint8)
    raw = read_idx(data / "train-images-idx3-ubyte.gz")
    assert np.array_equal(images[:, 0, 2:30, 2:30].numpy(), raw)
    assert int(images[:, :, :2].sum()) == 0
    assert labels[:11].tolist() == [*range(10), 0]
    (data / "t10k-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x09\x01")
    with pytest.raises(ValueError, match="holds 1 bytes, its header says 9"):
        load_split(data, "t10k")
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        load_split(tmp_path, "train")


def stage(folder):
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)

    def losses(generator):
        x = torch.randn(8, 3, generator=generator)
        return {"total": (layer(x) - x[:, :2]).square().mean()}

    folder.mkdir(exist_ok=True)
    return Stage(TrainingRun("line", folder, 40, 0.05, seed=1), layer, losses, ema_decay=0.9)


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path):
    whole, first, second = stage(tmp_path / "a"), stage(tmp_path / "b"), stage(tmp_path / "b")
    whole.run()
    calls, real = itertools.count(1), first.losses

    def stop_at_15(generator):
        if next(calls) == 15:
            raise KeyboardInterrupt
        return real(generator)

    first.losses = stop_at_15
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second.run()
    assert torch.equal(second.trained.weight, whole.trained.weight)
    assert torch.equal(second.ema["weight"], whole.ema["weight"])
    second.use_ema()
    assert not torch.equal(second.trained.weight, whole.trained.weight)


def test_untied_transformer_is_the_trained_one():
    torch.manual_seed(0)
    denoiser = Denoiser(build_transformer()).eval()
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.05)
    x, t, y = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.tensor([1, 10])
    with torch.no_grad():
        tied = denoiser(x, t, y)
        plain = denoiser.untie()(x, t, y).sample
    torch.testing.assert_close(plain, tied, rtol=1e-5, atol=1e-5)


def test_the_loss_is_least_for_the_true_noise_and_the_posterior_variance():
    diffusion = Diffusion()
    torch.manual_seed(0)
    clean, noise = torch.randn(8, 4, 8, 8), torch.randn(8, 4, 8, 8)
    steps, labels = torch.randint(1, 1000, (8,)), torch.zeros(8, dtype=torch.long)

    def losses(scale, share):
        def model(*_):
            return torch.cat([scale * noise, torch.full_like(noise, 2 * share - 1)], dim=1)

        return diffusion.losses(model, clean, steps, labels, noise)

    best = losses(1.0, 0.0)
    assert float(best["total"]) == pytest.approx(0.0, abs=1e-5)
    assert float(losses(0.9, 0.0)["mse"]) > 0.005
    assert float(losses(1.0, 1.0)["bound"]) > 1e-4


def test_the_whole_way_from_idx_files_to_assets(data, tmp_path, monkeypatch):
    from tools.embedded import export

    monkeypatch.setattr(export, "SUBSET", 50)
    work, assets = tmp_path / "work", tmp_path / "assets"
    names = ("classifier", "critic", "autoencoder", "transformer")
    steps = [part for name in names for part in (f"--{name}-steps", "2")]
    folders = ["--data", str(data), "--work", str(work), "--assets", str(assets)]
    result = CliRunner().invoke(
        main, ["fashion", *folders, *steps, "--threads", "1"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    model = load_model(str(assets / "fashion-dit"))
    assert (model.classes, len(model.transformer.transformer_blocks)) == (10, 12)
    network = load_extractor("fashion", str(assets / "features" / "fashion-net.safetensors"))
    reference = load_reference(assets / "features" / "reference.npz", network)
    assert (reference.count, len(reference.features)) == (80, 50)
    manifest = json.loads((assets / "manifest.json").read_text(encoding="utf-8"))
    assert "fashion-dit/model_index.json" in manifest["sha256"]
    assert manifest["training"]["fashion-dit"]["curves"] == {}  # two steps are never logged
