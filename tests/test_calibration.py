"""Calibration inputs lie on the full-precision model's own trajectories."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from mpqbench.core.protocol import Protocol
from mpqbench.dit.calibration import record_calibration
from mpqbench.dit.loading import load_model
from mpqbench.dit.sampling import Sampler

PROTOCOL = Protocol(name="test", images=8, steps=4, micro_batch=4, calibration=24)


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(str(tiny_folder))


@pytest.fixture(scope="module")
def calibration(model):
    return record(model, 0)


def record(model, seed):
    return record_calibration(Sampler(model, PROTOCOL, seed, "cpu", axis="calibration"))


def test_steps_and_null_classes_have_equal_shares(calibration):
    assert Counter(calibration.times.tolist()) == {0: 6, 333: 6, 666: 6, 999: 6}
    assert int((calibration.classes == 3).sum()) == 12


def test_inputs_are_on_the_trajectories_of_the_calibration_axis(model, calibration):
    found = set()

    def keep(first, position, latents, time, classes):
        found.update((time, tuple(x.flatten()[:4].tolist())) for x in latents)

    sampler = Sampler(model, PROTOCOL, 0, "cpu", axis="calibration")
    list(sampler.batches(0, 24, observe=keep))
    for x, t in zip(calibration.latents, calibration.times.tolist(), strict=True):
        assert (t, tuple(x.flatten()[:4].tolist())) in found


def test_no_calibration_image_is_evaluated(model, calibration):
    noise = [b.latents for b in Sampler(model, PROTOCOL, 0, "cpu").batches(0, 24)]
    assert not any((calibration.latents[i].numpy() == noise[0]).all() for i in range(24))


def test_the_same_seed_gives_the_same_inputs_and_another_seed_others(model, calibration):
    again = record(model, 0)
    other = record(model, 1)
    assert torch.equal(again.latents, calibration.latents)
    assert not torch.equal(other.latents, calibration.latents)
