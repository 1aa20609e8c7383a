"""Measures of cost, which add up over groups, and a search problem as arrays of costs."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contracts import SearchProblem
from ..core.precision import Allocation, Precision


@dataclass(frozen=True)
class Measure:
    """One additive cost by group and choice; ``limit`` is infinity where there is no bound."""

    name: str
    unit: str
    table: Mapping[str, Mapping[Precision, float]]
    limit: float

    def without(self, part: Sequence[str], others: Precision) -> "Measure":
        """Return the measure of the groups ``part``, the cost of all others taken off the limit."""
        rest = sum(costs[others] for group, costs in self.table.items() if group not in part)
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


def _unheard(sentence: str) -> None:
    """Drop a remark: these arrays are of no problem."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Groups, choices, costs and limits of a problem.

    ``costs`` holds (choices, measures) float64 for each group; ``limits`` is (measures,), with
    infinity for no bound. ``indices`` (groups,) always give the number of the choice of each group.
    ``remark`` is the problem's: whoever solves these says there what was given up.
    """

    groups: tuple[str, ...]
    choices: tuple[tuple[Precision, ...], ...]
    costs: tuple[np.ndarray, ...]
    limits: np.ndarray
    remark: Callable[[str], None] = _unheard

    @classmethod
    def of(cls, problem: SearchProblem) -> "Arrays":
        """Return the arrays of ``problem``."""
        groups = tuple(problem.groups)
        choices = tuple(tuple(problem.choices(group)) for group in groups)
        costs = tuple(map(problem.costs, groups))
        return cls(groups, choices, costs, problem.limits(), problem.remark)

    def part(self, numbers: Sequence[int], limits: np.ndarray) -> "Arrays":
        """Return the problem of some groups alone, with limits (measures,) of its own."""
        groups = tuple(self.groups[n] for n in numbers)
        choices = tuple(self.choices[n] for n in numbers)
        costs = tuple(self.costs[n] for n in numbers)
        return Arrays(groups, choices, costs, limits, self.remark)

    def allocation(self, indices: Sequence[int] | np.ndarray) -> Allocation:
        """Return the allocation of ``indices``, in network order."""
        taken = zip(self.groups, self.choices, indices, strict=True)
        return Allocation({group: choices[int(i)] for group, choices, i in taken})

    def indices(self, allocation: Allocation) -> np.ndarray:
        """Return the indices of ``allocation``: (groups,) int."""
        taken = zip(self.groups, self.choices, strict=True)
        return np.array([choices.index(allocation[group]) for group, choices in taken])

    def total(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the cost of ``indices`` in each measure, exactly as the problem sums it."""
        return summed(costs[int(i)] for costs, i in zip(self.costs, indices, strict=True))

    def fits(self, indices: Sequence[int] | np.ndarray) -> bool:
        """Return whether ``indices`` keep every limit."""
        return bool((self.total(indices) <= self.limits).all())

    def relative(self) -> list[np.ndarray]:
        """Return bounded costs in units of the limits (largest cost if 0): (choices, bounded)."""
        bounded = np.isfinite(self.limits)
        largest = np.max([costs.max(axis=0) for costs in self.costs], axis=0)
        unit = np.where(self.limits > 0, self.limits, np.where(largest > 0, largest, 1.0))[bounded]
        return [costs[:, bounded] / unit for costs in self.costs]

    def excess(self, total: np.ndarray) -> np.ndarray:
        """Return by how much totals (..., measures) exceed the limits, in units of them: (...)."""
        bounded = np.isfinite(self.limits)
        limits = self.limits[bounded]
        over = np.maximum(total[..., bounded] - limits, 0) / np.where(limits > 0, limits, 1.0)
        return over.sum(axis=-1)
