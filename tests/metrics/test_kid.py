from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from mpqbench.core.errors import BenchError
from mpqbench.metrics import kid as module
from mpqbench.metrics.kid import KernelReference


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    return rng.normal(0.3, 1, (60, 5)), rng.normal(0, 1.2, (45, 5))


def brute_force(points, reference):
    """The U-statistic one pair at a time."""

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def within(rows):
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return np.mean(pairs)

    across = np.mean([kernel(x, y) for x in points for y in reference])
    return within(points) + within(reference) - 2 * across


def test_matches_brute_force_for_unequal_sizes(sides):
    points, reference = sides
    ours = KernelReference(reference).distance(points)
    assert ours.value == pytest.approx(brute_force(points, reference), rel=1e-10)
    assert ours.replicates == ()


def test_matches_torch_fidelity_on_one_subset_of_everything(sides):
    points, reference = sides[0][:45], sides[1]
    theirs = kid_features_to_metric(
        torch.from_numpy(points),
        torch.from_numpy(reference),
        kid_subsets=1,
        kid_subset_size=45,
        verbose=False,
    )
    ours = KernelReference(reference).distance(points).value
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-10)


def test_leaving_groups_out_equals_recomputing(sides):
    points, reference = sides
    groups = np.arange(len(points)) % 7
    judge = KernelReference(reference)
    estimate = judge.distance(points, groups)
    expected = [judge.distance(points[groups != g]).value for g in range(7)]
    np.testing.assert_allclose(estimate.replicates, expected, rtol=1e-10)
    assert estimate.value == pytest.approx(judge.distance(points).value, rel=1e-12)


def test_blocks_do_not_change_the_result(sides, monkeypatch):
    groups = np.arange(60) % 4
    whole = KernelReference(sides[1]).distance(sides[0], groups)
    monkeypatch.setattr(module, "_BLOCK", 16)
    blocked = KernelReference(sides[1]).distance(sides[0], groups)
    np.testing.assert_allclose(blocked.replicates, whole.replicates, rtol=1e-10)
    assert blocked.value == pytest.approx(whole.value, rel=1e-10)


def test_mean_over_draws_of_one_distribution_is_zero():
    rng = np.random.default_rng(1)
    values = [
        KernelReference(rng.normal(size=(12, 3))).distance(rng.normal(size=(12, 3))).value
        for _ in range(600)
    ]
    assert min(values) < 0  # the biased estimator never is
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_other_dimension_and_too_few_points():
    judge = KernelReference(np.zeros((5, 3)))
    with pytest.raises(BenchError, match="4 and 3 dimensions"):
        judge.distance(np.zeros((5, 4)))
    with pytest.raises(BenchError, match="at least 2 images, not 1"):
        judge.distance(np.zeros((1, 3)))
