from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from mpqbench.core.errors import BenchError
from mpqbench.metrics import precision_recall as module
from mpqbench.metrics.precision_recall import Manifold, precision_recall


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (70, 4)), rng.normal(1.2, 1.0, (55, 4))


def brute_force(samples, reference, k):
    """One pair at a time, from the definition."""

    def share_inside(points, manifold):
        hits = 0
        for point in points:
            for centre in manifold:
                radius = sorted(np.sum((manifold - centre) ** 2, axis=1))[k]
                if np.sum((point - centre) ** 2) <= radius:
                    hits += 1
                    break
        return hits / len(points)

    return share_inside(samples, reference), share_inside(reference, samples)


@pytest.mark.parametrize("k", [1, 3])
def test_matches_brute_force(sides, k):
    samples, reference = sides
    ours = precision_recall(Manifold(samples, k), Manifold(reference, k))
    assert ours == pytest.approx(brute_force(samples, reference, k))
    assert 0 < ours.recall < 1
    assert 0 < ours.precision < 1
    assert ours.precision != ours.recall


def test_matches_torch_fidelity(sides):
    samples, reference = sides
    theirs = prc_features_to_metric(
        torch.from_numpy(samples),
        torch.from_numpy(reference),
        prc_neighborhood=3,
        prc_batch_size=1000,
        save_cpu_ram=False,
        verbose=False,
    )
    ours = precision_recall(Manifold(samples), Manifold(reference))
    assert ours.precision == pytest.approx(theirs["precision"], abs=1e-6)
    assert ours.recall == pytest.approx(theirs["recall"], abs=1e-6)


def test_blocks_do_not_change_the_result(sides, monkeypatch):
    whole = precision_recall(Manifold(sides[0]), Manifold(sides[1]))
    monkeypatch.setattr(module, "_BLOCK", 16)
    assert precision_recall(Manifold(sides[0]), Manifold(sides[1])) == whole


def test_a_collapsed_sampler_has_precision_without_recall():
    reference = np.random.default_rng(1).normal(size=(200, 3))
    collapsed = np.repeat(reference[:1], 50, axis=0)
    ours = precision_recall(Manifold(collapsed), Manifold(reference))
    assert ours.precision == 1.0
    assert ours.recall == pytest.approx(1 / 200)


def test_a_point_on_the_surface_is_inside():
    line = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert Manifold(line, k=1).share_inside(np.array([[4.0]])) == 1.0
    assert Manifold(line, k=1).share_inside(np.array([[4.001]])) == 0.0


def test_too_few_points():
    with pytest.raises(BenchError, match="k=3 need over 3 images"):
        Manifold(np.zeros((3, 2)))
