"""Rank agreement of two measurements of the same allocations."""

from typing import NamedTuple, Self

import numpy as np

from ...core.errors import BenchError
from ...core.jackknife import NORMAL_95, standard_error

FEWEST = 10  # allocations: below, an interval of a rank correlation says nothing


class Agreement(NamedTuple):
    """Kendall's tau, and its value without each allocation."""

    tau: float
    replicates: tuple[float, ...]

    @property
    def ci(self) -> float:
        """Half-width of the 95 % interval of tau, by the delete-one jackknife (Arvesen 1969).

        A bootstrap would repeat allocations, and ties with themselves lower its tau.
        """
        return NORMAL_95 * standard_error(self.replicates)

    def behind(self, other: Self) -> tuple[float, float]:
        """Return the tau of ``other`` minus this one, and the half-width of its 95 % interval.

        Both must be of the same allocations: the interval is that of the paired difference.
        """
        gaps = [o - s for o, s in zip(other.replicates, self.replicates, strict=True)]
        return other.tau - self.tau, NORMAL_95 * standard_error(gaps)


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement:
    """Return Kendall's tau-b of (n,) and (n,): 1 if both order the allocations alike.

    Raises BenchError for fewer than ten allocations, and if one side is constant.
    """
    from scipy.stats import kendalltau

    if len(first) < FEWEST:
        raise BenchError(f"a rank correlation needs at least {FEWEST} allocations")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise BenchError("all allocations score the same: there is no order to compare")
    without = [np.delete(np.arange(len(first)), left_out) for left_out in range(len(first))]
    taus = [float(kendalltau(first[rest], second[rest]).statistic) for rest in without]
    return Agreement(float(kendalltau(first, second).statistic), tuple(taus))
