"""Inception score, kernel distance, precision, recall and the jackknife, computed another way."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from mpqbench.core.errors import BenchError
from mpqbench.core.jackknife import deal_groups, half_width, standard_error
from mpqbench.metrics import rows
from mpqbench.metrics.kid import KernelReference
from mpqbench.metrics.precision_recall import Manifold
from mpqbench.metrics.score import inception_score

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (120, 10)).astype(np.float32)
POINTS, REFERENCE = RNG.normal(0.8, 1, (60, 4)), RNG.normal(0, 1.2, (45, 4))


@pytest.mark.parametrize("splits", [1, 2, 4])
def test_inception_score_is_that_of_torch_fidelity_unshuffled(splits):
    theirs = isc_features_to_metric(torch.from_numpy(LOGITS), splits=splits, shuffle=False)
    ours = inception_score(LOGITS, split=120 // splits).value
    assert ours == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    if splits == 1:
        assert inception_score(LOGITS).value == ours  # fewer images than a split are one split


def test_a_shorter_last_split_counts_as_one():
    parts = [inception_score(LOGITS[i : i + 50]).value for i in (0, 50, 100)]
    assert inception_score(LOGITS, split=50).value == pytest.approx(np.mean(parts), rel=1e-12)


def test_inception_score_without_a_group_equals_recomputing():
    groups = np.arange(120) % 7
    estimate = inception_score(LOGITS, groups, split=60)
    halves = [(LOGITS[:60], groups[:60]), (LOGITS[60:], groups[60:])]
    expected = [
        np.mean([inception_score(part[dealt != g]).value for part, dealt in halves])
        for g in range(7)
    ]
    np.testing.assert_allclose(estimate.replicates, expected, rtol=1e-12)
    assert estimate.value == pytest.approx(inception_score(LOGITS, split=60).value, rel=1e-12)


def kernel_distance(points, reference):
    """The U-statistic, one pair at a time."""

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def within(rows):
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        return np.mean(pairs)

    across = np.mean([kernel(x, y) for x in points for y in reference])
    return within(points) + within(reference) - 2 * across


def test_kernel_distance_is_that_of_all_pairs_and_of_torch_fidelity():
    ours = KernelReference(REFERENCE).distance(POINTS)
    assert ours.value == pytest.approx(kernel_distance(POINTS, REFERENCE), rel=1e-10)
    assert ours.replicates == ()
    sides = torch.from_numpy(POINTS[:45]), torch.from_numpy(REFERENCE)
    theirs = kid_features_to_metric(*sides, kid_subsets=1, kid_subset_size=45, verbose=False)
    ours = KernelReference(REFERENCE).distance(POINTS[:45]).value
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-10)


def test_blocks_do_not_change_the_kernel_distance(monkeypatch):
    groups = np.arange(len(POINTS)) % 7
    whole = KernelReference(REFERENCE).distance(POINTS, groups)
    monkeypatch.setattr(rows, "TILE_ROWS", 16)
    monkeypatch.setattr(rows, "TILE_COLUMNS", 19)
    blocked = KernelReference(REFERENCE).distance(POINTS, groups)
    assert blocked.value == pytest.approx(whole.value, rel=1e-10)
    np.testing.assert_allclose(blocked.replicates, whole.replicates, rtol=1e-10)


def shares(samples, reference, k):
    """Precision and recall, one pair at a time."""

    def share_inside(points, manifold):
        radii = [sorted(np.sum((manifold - centre) ** 2, axis=1))[k] for centre in manifold]
        return np.mean([np.any(np.sum((manifold - x) ** 2, axis=1) <= radii) for x in points])

    return share_inside(samples, reference), share_inside(reference, samples)


@pytest.mark.parametrize(("k", "block"), [(1, 1000), (3, 1000), (3, 16)])
def test_precision_and_recall_are_those_of_the_definition(k, block, monkeypatch):
    monkeypatch.setattr(rows, "TILE_ROWS", block)
    monkeypatch.setattr(rows, "TILE_COLUMNS", block - 14)
    precision, recall = Manifold(REFERENCE, k).precision_recall(Manifold(POINTS, k))
    assert (precision, recall) == pytest.approx(shares(POINTS, REFERENCE, k))
    assert 0 < min(precision, recall) < max(precision, recall) < 1


def test_precision_and_recall_are_those_of_torch_fidelity():
    options = {"prc_neighborhood": 3, "prc_batch_size": 1000, "save_cpu_ram": False}
    sides = torch.from_numpy(POINTS), torch.from_numpy(REFERENCE)
    theirs = prc_features_to_metric(*sides, verbose=False, **options)
    ours = Manifold(REFERENCE).precision_recall(Manifold(POINTS))
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


def test_a_point_on_the_surface_is_inside():
    line = Manifold(np.array([[0.0], [1.0], [2.0], [3.0]]), k=1)
    points = Manifold(np.array([[4.0], [4.001]]), k=1)
    assert line.precision_recall(points)[0] == 0.5


def test_too_few_points():
    reference = KernelReference(np.zeros((5, 3)))
    with pytest.raises(BenchError, match="at least 2 images, not 1"):
        reference.distance(np.zeros((1, 3)))
    with pytest.raises(BenchError, match="k=3 need over 3 images"):
        Manifold(np.zeros((3, 2)))


@given(st.lists(st.integers(0, 6), min_size=20, max_size=200))
def test_groups_and_classes_within_groups_are_balanced(labels):
    classes = np.array(labels)
    groups = deal_groups(len(classes), classes)
    sizes = np.bincount(groups)
    assert len(sizes) == min(20, len(classes) // 2)
    assert sizes.min() >= 2
    assert np.ptp(sizes) <= 1
    for label in set(labels):
        assert np.ptp(np.bincount(groups[classes == label], minlength=len(sizes))) <= 1


def test_groups_are_fewer_for_few_images_and_none_for_very_few():
    assert [deal_groups(count).max() + 1 for count in (64, 26, 20)] == [20, 13, 10]
    assert deal_groups(19) is None
    with pytest.raises(BenchError, match="30 images need 30 classes"):
        deal_groups(30, np.zeros(29, dtype=int))


def test_standard_error_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(size=40)
    left_out = [np.delete(values, i).mean() for i in range(40)]
    assert standard_error(left_out) == pytest.approx(values.std(ddof=1) / np.sqrt(40), rel=1e-12)
    assert half_width(left_out) == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(40))


def test_interval_of_grouped_means_covers_the_truth():
    rng = np.random.default_rng(1)
    groups = deal_groups(200)
    covered = 0
    for _ in range(400):
        values = rng.normal(size=200)
        left_out = [values[groups != g].mean() for g in range(20)]
        covered += abs(values.mean()) <= half_width(left_out)
    assert 0.90 <= covered / 400 <= 0.98
