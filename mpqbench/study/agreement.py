"""Rank agreement of two measurements of the same allocations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import BenchError
from ..metrics.jackknife import NORMAL_95, standard_error

FEWEST = 10  # allocations: below, an interval of a rank correlation says nothing


class Agreement(NamedTuple):
    """Kendall's tau and the half-width of its 95 % interval."""

    tau: float
    ci: float


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement:
    """Kendall's tau-b of (n,) and (n,), with the delete-one jackknife's interval.

    1 where both order the allocations alike. A bootstrap would repeat allocations, and ties with
    themselves lower its tau; the jackknife keeps each one distinct (Arvesen 1969, for U-statistics
    such as this). Raises BenchError below ten allocations, and where one side is constant.
    """
    from scipy.stats import kendalltau

    if len(first) < FEWEST:
        raise BenchError(f"a rank correlation needs at least {FEWEST} allocations")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise BenchError("all allocations score the same: there is no order to compare")
    without = [np.delete(np.arange(len(first)), left_out) for left_out in range(len(first))]
    taus = [float(kendalltau(first[rest], second[rest]).statistic) for rest in without]
    half = NORMAL_95 * standard_error(taus)
    return Agreement(float(kendalltau(first, second).statistic), half)
