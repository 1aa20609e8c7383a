"""Measures of cost, which add up over the searchable groups, and their bounds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.precision import Precision


@dataclass(frozen=True)
class Measure:
    """One additive cost by group and choice; ``limit`` is infinity where there is no bound."""

    name: str
    unit: str
    table: Mapping[str, Mapping[Precision, float]]
    limit: float

    def without(self, part: Sequence[str], others: Precision) -> "Measure":
        """Return the measure of the groups ``part``, the cost of all others taken off the limit."""
        rest = sum(own[others] for group, own in self.table.items() if group not in part)
        table = {group: self.table[group] for group in part}
        return Measure(self.name, self.unit, table, self.limit - rest)

    def of(self, allocation: Mapping[str, Precision]) -> float:
        """Return the cost of an allocation, which may be partial."""
        return math.fsum(self.table[group][precision] for group, precision in allocation.items())


def summed(rows: Iterable[np.ndarray]) -> np.ndarray:
    """Return the sum of ``rows`` (measures,), one for each group: (measures,)."""
    # Sums are compared with limits without a tolerance. BitOPs, bytes and weight bits are whole
    # numbers below 2^53, as their limits are, so every sum is exact; with a tolerance, allocations
    # would fit here that the count of the achieved cost rejects. Other measures may not be whole
    # numbers: fsum rounds once, so that what fits does not depend on the order of the groups.
    lists = [row.tolist() for row in rows]
    return np.array([math.fsum(column) for column in zip(*lists, strict=True)])
