"""Held-out inputs: not those of calibration, and the error on them."""

from __future__ import annotations

import pytest
import torch

from mpqbench.core.errors import Diverged
from mpqbench.core.recipe import Protocol
from mpqbench.core.registry import discover
from mpqbench.dit.calibration import record_calibration
from mpqbench.dit.held_out import HeldOut, evaluate, held_out
from mpqbench.dit.loading import load_model
from mpqbench.job.resources import Resources

PROTOCOL = Protocol(name="test", images=8, steps=4, micro_batch=4, calibration=8)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


def test_held_out_inputs_are_not_those_of_calibration(model):
    resources = Resources(discover())
    held = resources.held_out(model, PROTOCOL, 0)
    calibration = resources.statistics(model, PROTOCOL, 0).calibration()
    assert len(held.inputs) == len(calibration) == 8
    difference = torch.cdist(held.inputs.latents.flatten(1), calibration.latents.flatten(1))
    assert difference.min() > 0.1
    assert resources.held_out(model, PROTOCOL, 0) is held


def test_the_error_is_the_mean_squared_difference(model):
    inputs = record_calibration(model, PROTOCOL, 0, "cpu", axis="held-out")
    outputs = evaluate(model.transformer, inputs, 3, "cpu")
    with torch.inference_mode():
        whole = model.transformer(inputs.latents, inputs.times, inputs.classes).sample
    torch.testing.assert_close(outputs, whole)
    assert HeldOut(inputs, outputs).mse(model.transformer, 3, "cpu").tolist() == [0.0] * 8
    offsets = torch.arange(8)[:, None, None] / 4
    shifted = HeldOut(inputs, outputs + offsets).mse(model.transformer, 8, "cpu")
    assert shifted.tolist() == pytest.approx([(at / 4) ** 2 for at in range(8)], rel=1e-5)


def test_they_are_made_once_and_read_again(model, tmp_path):
    calls = []

    def record():
        calls.append(1)
        return record_calibration(model, PROTOCOL, 0, "cpu", axis="held-out")

    path = tmp_path / "held-out.safetensors"
    first = held_out(path, model.transformer, record, 4, "cpu")
    again = held_out(path, None, record, 4, "cpu")
    assert len(calls) == 1
    assert torch.equal(first.outputs, again.outputs)
    assert torch.equal(first.inputs.times, again.inputs.times)


def test_an_output_that_is_not_finite_diverges(model):
    inputs = record_calibration(model, PROTOCOL, 0, "cpu", axis="held-out")
    outputs = evaluate(model.transformer, inputs, 8, "cpu")
    outputs[0, 0, 0, 0] = float("nan")
    with pytest.raises(Diverged, match="not finite"):
        HeldOut(inputs, outputs).mse(model.transformer, 8, "cpu")
