"""What an allocation may cost: additive measures over the searchable groups, with their bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.precision import Precision


@dataclass(frozen=True)
class Measure:
    """One additive cost: ``table`` gives what a group adds at each of its choices.

    ``limit`` is infinity where there is no bound; ``unit`` is for messages.
    """

    name: str
    unit: str
    table: Mapping[str, Mapping[Precision, float]]
    limit: float

    def without(self, part: Sequence[str], others: Precision) -> Measure:
        """The measure of the groups ``part`` alone, all others taking ``others`` off the limit."""
        rest = sum(own[others] for group, own in self.table.items() if group not in part)
        table = {group: self.table[group] for group in part}
        return Measure(self.name, self.unit, table, self.limit - rest)

    def of(self, allocation: Mapping[str, Precision]) -> float:
        """Cost of an allocation, which may be partial."""
        return math.fsum(self.table[group][precision] for group, precision in allocation.items())


def summed(rows: Iterable[np.ndarray]) -> np.ndarray:
    """What ``rows`` (measures,), one for each group, cost together: (measures,)."""
    # Sums are compared with limits without a tolerance. BitOPs, bytes and weight bits are whole
    # numbers below 2^53, and so are their limits: every sum is exact, and a tolerance would let
    # through what the count of the achieved cost refuses. Where costs of other measures are no
    # whole numbers, fsum rounds once, so that the order of the groups cannot decide what fits.
    lists = [row.tolist() for row in rows]
    return np.array([math.fsum(column) for column in zip(*lists, strict=True)])
