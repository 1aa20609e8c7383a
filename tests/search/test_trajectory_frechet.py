"""The distribution's distance: by hand, and blind to what averages out."""

from __future__ import annotations

import pytest
import torch

from mpqbench.baselines.objectives.trajectory_frechet import TrajectoryFrechet


def _latents(seed, n=400):
    return torch.randn(n, 4, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_a_shift_and_a_shrinking_count_in_full():
    wanted = _latents(0)
    given = torch.stack([wanted + 0.3, 0.5 * wanted, wanted])
    scores = TrajectoryFrechet().distance(given, wanted)
    assert scores.shape == (3, 400)
    assert scores[:, 0] == pytest.approx(scores[:, -1])
    means, spreads = wanted.double().mean(0), wanted.double().std(0, correction=0)
    shrunk = ((0.5 * means) ** 2 + (0.5 * spreads) ** 2).mean()
    assert scores[:, 0].tolist() == pytest.approx([0.09, float(shrunk), 0], rel=1e-5)


def test_another_sample_of_the_same_distribution_is_near_though_every_pair_differs():
    wanted, other = _latents(0), _latents(1)
    near = float(TrajectoryFrechet().distance(other[None], wanted)[0, 0])
    assert near < 0.01 < float((other - wanted).square().mean())
