"""p-values, Holm's procedure and hypervolume against formulas, tables by hand and brute force."""

import math

import numpy as np
import pytest
from scipy import stats

from mpqbench.records.statistics import (
    combined_error,
    combined_half_width,
    holm,
    hypervolume,
    p_value,
)

# Adjusted by hand: sorted, times the number of comparisons left, never below the one before.
BY_HAND = [
    ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
    ([0.02, 0.02], [0.04, 0.04]),
    ([0.9, 0.6, 0.001], [1.0, 1.0, 0.003]),
    ([0.03], [0.03]),
    ([], []),
]


@pytest.mark.parametrize(("values", "corrected"), BY_HAND)
def test_holm_is_what_a_table_by_hand_says(values, corrected):
    assert holm(values) == pytest.approx(corrected)


def test_holm_rejects_what_stepping_down_rejects():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = rng.uniform(0, 0.08, size=rng.integers(1, 9)).round(3)
        rejected = np.zeros(len(values), dtype=bool)
        for place, at in enumerate(np.argsort(values, kind="stable")):  # Holm 1979, as it stands
            if values[at] * (len(values) - place) > 0.05:
                break
            rejected[at] = True
        assert [p <= 0.05 for p in holm(values.tolist())] == rejected.tolist()


def test_p_values_are_those_of_scipy():
    for z in (0.0, 0.3, 1.96, 4.0):
        assert p_value(2 * z, 2.0) == pytest.approx(2 * stats.norm.sf(z))
        assert p_value(-2 * z, 2.0) == pytest.approx(2 * stats.norm.sf(z))
        assert p_value(z, 1.0, 3.5) == pytest.approx(2 * stats.t.sf(z, 3.5))
    assert (p_value(0.0, 0.0), p_value(0.1, 0.0)) == (1.0, 0.0)


@pytest.mark.parametrize("between", [(), [(0.3, 2)], [(0.3, 2), (0.1, 4)]])
def test_a_p_value_is_below_5_percent_where_the_interval_leaves_zero_out(between):
    replicates = list(np.random.default_rng(1).normal(size=20))
    half = combined_half_width(replicates, between)
    error, freedom = combined_error(replicates, between)
    for factor in (0.999, 1.001):
        p = p_value(factor * half, error, freedom)
        assert p == pytest.approx(0.05, rel=0.02)
        assert (p < 0.05) == (factor > 1)
    assert math.isinf(freedom) == (not between)


def test_hypervolume_is_that_of_pymoo_and_of_counting_cells():
    rng = np.random.default_rng(2)
    indicator = pytest.importorskip("pymoo.indicators.hv").HV(ref_point=np.array([10.0, 10.0]))
    for _ in range(20):
        points = rng.integers(0, 13, size=(6, 2)).astype(float)  # some are beyond the reference
        area = hypervolume([tuple(point) for point in points], (10.0, 10.0))
        cells = np.stack(np.meshgrid(np.arange(10) + 0.5, np.arange(10) + 0.5), axis=-1)
        dominated = (cells[:, :, None] >= points).all(-1).any(-1)
        assert area == dominated.sum() == pytest.approx(indicator(points))
    assert hypervolume([], (1.0, 1.0)) == 0
