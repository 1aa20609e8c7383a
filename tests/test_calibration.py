"""Calibration inputs lie on the full-precision model's own trajectories."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from mpqbench.core.recipe import Protocol
from mpqbench.dit.calibration import record_calibration
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler

PROTOCOL = Protocol(name="test", images=8, steps=4, micro_batch=4, calibration=24)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


@pytest.fixture(scope="module")
def calibration(model):
    return record_calibration(model, PROTOCOL, seed=0, device="cpu")


def test_steps_and_null_classes_have_equal_shares(calibration):
    assert Counter(calibration.times.tolist()) == {0: 6, 333: 6, 666: 6, 999: 6}
    assert int((calibration.classes == 3).sum()) == 12


def test_inputs_are_on_the_trajectories_of_the_calibration_axis(model, calibration):
    found = {"calibration": set(), "noise": set()}  # of the second axis, evaluated images are made
    for axis, seen in found.items():

        def keep(_first, _position, latents, time, _classes, seen=seen):
            seen.update((time, tuple(x.flatten()[:4].tolist())) for x in latents)

        list(Sampler(model, PROTOCOL, 0, "cpu", axis=axis).watch(0, 24, keep))
    for x, t in zip(calibration.latents, calibration.times.tolist(), strict=True):
        point = t, tuple(x.flatten()[:4].tolist())
        assert point in found["calibration"]
        assert point not in found["noise"]


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others(model, calibration):
    again = record_calibration(model, PROTOCOL, seed=0, device="cpu")
    other = record_calibration(model, PROTOCOL, seed=1, device="cpu")
    assert torch.equal(again.latents, calibration.latents)
    assert not torch.equal(other.latents, calibration.latents)
