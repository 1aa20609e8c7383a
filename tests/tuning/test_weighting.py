"""Weights of noise levels against their formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_student import FAST, quantized_student

from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.tuning.trajectories import Trajectories
from mpqbench.tuning.weighting import LEVELS, balanced, bounded_snr, min_snr, uniform


def rows_at(times, signal=None):
    count = len(times)
    signal = torch.zeros(count) if signal is None else signal
    latents = torch.zeros(count, 1, 1, 1)
    images = torch.arange(count)
    return Trajectories(
        latents, torch.as_tensor(times), torch.zeros(count), images, signal, latents
    )


def test_min_snr_follows_its_formula():
    signal = torch.tensor([0.2, 0.5, 0.9, 1.0])
    rows = rows_at(range(4), signal)
    weights = bounded_snr(rows)
    torch.testing.assert_close(weights[:3], torch.tensor([1.0, 1.0, 5 / 9]))
    assert 0 <= float(weights[3]) < 1e-9
    assert float(min_snr(rows)(rows).mean()) == pytest.approx(1)
    assert uniform(rows).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("steps", [2, LEVELS - 1, LEVELS])
def test_every_step_of_a_sampler_of_few_is_a_level(steps):
    """The cleanest one, too: its error is of another size than that of the next."""
    times = np.repeat(np.linspace(0, 950, steps).astype(int), 50)
    errors = np.repeat(10.0 ** np.random.default_rng(2).uniform(-2, 2, steps), 50)
    rows = rows_at(times)
    weighted = balanced(rows, torch.tensor(errors))(rows).numpy() * errors
    assert weighted == pytest.approx(np.ones(len(rows)), rel=1e-5)


def test_balanced_levels_of_many_steps_hold_as_many_rows():
    times = np.random.default_rng(1).permutation(1000)
    errors = np.exp(-times / 100)
    rows = rows_at(times)
    weighted = balanced(rows, torch.tensor(errors))(rows).numpy() * errors
    parts = weighted[np.argsort(times)].reshape(LEVELS, -1)
    assert parts.mean(axis=1) == pytest.approx(np.ones(LEVELS), rel=0.05)
    assert weighted.mean() == pytest.approx(1, rel=0.02)


def test_a_level_without_an_error_counts_as_the_best_one():
    rows = rows_at([5, 5, 1, 1])
    assert balanced(rows, torch.tensor([0.0, 0.0, 0.5, 0.5]))(rows).tolist() == [2, 2, 2, 2]
    assert balanced(rows, torch.zeros(4))(rows).tolist() == [1, 1, 1, 1]


def test_a_balanced_curve_begins_at_one(teacher, data):
    student, quantized = quantized_student(teacher)
    with quantized:
        curve = PEFT(**FAST, weighting="balanced", rate=1e-2, scale_rate=1e-2).tune(student, data)
    assert curve.rows[0][2] == pytest.approx(1, abs=1e-4)
    assert curve.rows[-1][2] < 0.8


def test_channels_that_the_sampler_does_not_read_are_not_learned_from(teacher, data):
    read = [replace(rows, outputs=rows.outputs[:, :4]) for rows in (data.train, data.held_out)]
    unread = torch.arange(teacher.proj_out_2.out_features) % 8 >= 4  # channels vary fastest
    curves = []
    for lie in (0, 100):
        student, quantized = quantized_student(teacher)
        before = teacher.proj_out_2.bias.detach().clone()
        with quantized:
            teacher.proj_out_2.bias.data += lie * unread
            tuned = PEFT(**FAST | {"steps": 6, "every": 3}).tune(
                student, replace(data, train=read[0], held_out=read[1])
            )
            teacher.proj_out_2.bias.data.copy_(before)
        curves.append([row[2] for row in tuned.rows])
    assert curves[0] == curves[1]
