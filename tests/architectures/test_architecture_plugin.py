"""An architecture in a file of one's own: the example of the documentation."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
from tiny_pipeline import TINY_TRANSFORMER, TINY_VAE

from mpqbench.core.errors import BenchError
from mpqbench.core.protocol import Protocol
from mpqbench.core.registry import discover
from mpqbench.dit import architectures
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler

EXAMPLE = Path(__file__).parents[2] / "examples" / "sit.py"
STEPS = 4


@pytest.fixture
def known(monkeypatch):
    """The list of architectures, which is as it was after the test."""
    monkeypatch.setattr(architectures, "ARCHITECTURES", [*architectures.ARCHITECTURES])
    monkeypatch.setattr("mpqbench.dit.configs.ARCHITECTURES", architectures.ARCHITECTURES)
    return architectures.ARCHITECTURES


@pytest.fixture
def folder(tmp_path, known):
    """A tiny SiT with random weights."""
    assert architectures.use_architectures(discover([EXAMPLE]))
    torch.manual_seed(0)
    transformer = known[-1].transformer_class()(**TINY_TRANSFORMER)
    for parameter in transformer.parameters():
        if parameter.abs().max() == 0:
            parameter.data.normal_(std=0.2)
    parts = {
        "transformer": transformer,
        "vae": AutoencoderKL(**TINY_VAE),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }
    index = {"_class_name": "SiTPipeline"}
    for name, part in parts.items():
        part.save_pretrained(tmp_path / "sit" / name)
        index[name] = ["sit", type(part).__name__]
    (tmp_path / "sit" / "model_index.json").write_text(json.dumps(index))
    return tmp_path / "sit"


def test_the_example_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 120


def test_it_samples_by_euler_steps_along_the_velocity(folder):
    model = load_model(str(folder))
    protocol = Protocol(name="t", images=2, steps=STEPS, guidance=1.0, micro_batch=2, sampler="own")
    sampler = Sampler(model, protocol, seed=0, device="cpu")
    (batch,) = sampler.batches(0, 2)
    with torch.inference_mode():
        x, classes, _ = sampler.begin(0)
        for step in range(STEPS):  # time from noise at 0 to an image at 1, as in the paper
            time = torch.full((2,), step / STEPS)
            x = x + model.transformer(x, time, classes).sample[:, :4] / STEPS
    np.testing.assert_allclose(batch.latents, x.numpy(), rtol=1e-4, atol=1e-5)


def test_it_runs_like_any_other(folder, known, tmp_path, mpqbench):
    del known[5:]
    options = ("--features", "none", "--images", 4, "--steps", 3, "--micro-batch", 4)
    options += ("--calibration", 4, "--budget", "W4A4", "--method", "gptq", "--method", "quarot")
    call = ("run", "smoke", "--model", folder, *options, "--out", tmp_path / "out")
    code, _, error = mpqbench(*call)
    assert code == 2
    assert "SiTPipeline" in error
    assert "StableDiffusion3Pipeline" in error
    code, _, error = mpqbench(*call, "--plugins", EXAMPLE)
    assert code == 0, error
    code, out, _ = mpqbench("list", "architecture", "--plugins", EXAMPLE)
    assert code == 0
    assert "sit" in out
    assert any(type(each).__name__ == "SiT" for each in architectures.ARCHITECTURES)


def test_other_sources_are_another_model(folder, monkeypatch):
    digest = load_model(str(folder)).digest
    module = type(architectures.ARCHITECTURES[-1]).__module__
    copy = Path(str(folder.parent / "copy.py"))
    copy.write_text(EXAMPLE.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    monkeypatch.setattr(sys.modules[module], "__file__", str(copy))
    assert load_model(str(folder)).digest != digest


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("class Own: pass", "no class with the base class Architecture"),
        ("class Own(Architecture): pass", "lacks the attribute classes"),
        (
            "class Own(Architecture):\n    classes = pipelines = schedulers = layers = ('A',)\n"
            "    config = 0",
            "abstract method",
        ),
        ("from mpqbench.dit.architectures.dit import DiT\nclass Own(DiT): pass", "another arch"),
    ],
)
def test_a_plugin_that_is_no_architecture_is_refused(tmp_path, known, body, said):
    file = tmp_path / "own.py"
    start = "from mpqbench.dit.architecture import Architecture\n"
    end = "\nPLUGINS = {'architecture': {'own': Own}}\n"
    file.write_text(start + body + end, encoding="utf-8")
    before = len(known)
    with pytest.raises(BenchError, match=said):
        architectures.use_architectures(discover([file]))
    assert len(known) == before
