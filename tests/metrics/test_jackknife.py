from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpqbench.core.errors import BenchError
from mpqbench.metrics.jackknife import Estimate, deal_groups, half_width, standard_error


def test_group_is_the_rank_within_the_class():
    classes = np.tile(np.arange(5), 40)  # 40 images of each of 5 classes
    groups = deal_groups(200, classes)
    for label in range(5):
        np.testing.assert_array_equal(groups[classes == label], np.arange(40) % 20)


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


def test_no_replicates_no_interval():
    assert half_width([]) is None
    assert Estimate(1.0).ci is None
    with pytest.raises(BenchError, match="at least 2 replicates, not 1"):
        standard_error([1.0])
