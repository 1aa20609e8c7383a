"""Held-out inputs: not those of calibration, and the error on them."""

from __future__ import annotations

import pytest
import torch

from mpqbench.core.cache import Cache
from mpqbench.core.errors import Diverged
from mpqbench.core.protocol import Protocol
from mpqbench.dit.held_out import HeldOut, evaluate
from mpqbench.dit.loading import load_model
from mpqbench.dit.recordings import Recordings

PROTOCOL = Protocol(name="test", images=8, steps=4, micro_batch=4, calibration=8)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


@pytest.fixture(scope="module")
def recordings(model, tmp_path_factory):
    return Recordings(model, PROTOCOL, 0, "cpu", Cache(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def held_out(recordings):
    return recordings.held_out


def test_held_out_inputs_are_not_those_of_calibration(recordings, held_out):
    calibration = recordings.inputs()
    assert len(held_out.inputs) == len(calibration) == 8
    difference = torch.cdist(held_out.inputs.latents.flatten(1), calibration.latents.flatten(1))
    assert difference.min() > 0.1


def test_outputs_are_those_of_full_precision_and_the_error_is_a_mean_square(model, held_out):
    inputs, outputs = held_out.inputs, held_out.outputs
    with torch.inference_mode():
        whole = model.transformer(inputs.latents, inputs.times, inputs.classes).sample
    torch.testing.assert_close(outputs, whole)
    outputs = evaluate(model.transformer, inputs, 3)
    assert HeldOut(inputs, outputs).mse(model.transformer, 3).tolist() == [0.0] * 8
    offsets = torch.arange(8)[:, None, None] / 4
    shifted = HeldOut(inputs, outputs + offsets).mse(model.transformer, 8)
    assert shifted.tolist() == pytest.approx([(at / 4) ** 2 for at in range(8)], rel=1e-5)


def test_recordings_are_made_once_and_read_again(model, recordings, held_out, monkeypatch):
    again = Recordings(model, PROTOCOL, 0, "cpu", Cache(recordings.cache.folder.parents[1]))
    recordings.statistics.calibration()
    monkeypatch.setattr("mpqbench.dit.recordings.record_calibration", None)
    assert torch.equal(held_out.outputs, again.held_out.outputs)
    assert torch.equal(held_out.inputs.times, again.held_out.inputs.times)
    assert torch.equal(recordings.inputs().latents, again.inputs().latents)


def test_an_output_that_is_not_finite_diverges(model, held_out):
    outputs = held_out.outputs.clone()
    outputs[0, 0, 0, 0] = float("nan")
    with pytest.raises(Diverged, match="not finite"):
        HeldOut(held_out.inputs, outputs).mse(model.transformer, 8)
