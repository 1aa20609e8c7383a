"""What fits: a problem as arrays, the error where nothing fits, and allocations that do fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import BenchError, Infeasible
from ..core.precision import Allocation, Precision
from .measures import summed

if TYPE_CHECKING:
    from ..contracts import SearchProblem


@dataclass(frozen=True, eq=False)
class Arrays:
    """Costs of a problem by number: group g at choice i is ``choices[g][i]``, ``costs[g][i]``.

    ``costs`` holds (choices, measures) float64 for each group and ``limits`` (measures,), infinity
    for no bound. ``indices`` (groups,) name the choice of each group.
    """

    groups: tuple[str, ...]
    choices: tuple[tuple[Precision, ...], ...]
    costs: tuple[np.ndarray, ...]
    limits: np.ndarray

    @classmethod
    def of(cls, problem: SearchProblem) -> Arrays:
        """The arrays of ``problem``."""
        groups = tuple(problem.groups)
        choices = tuple(tuple(problem.choices(group)) for group in groups)
        return cls(groups, choices, tuple(map(problem.costs, groups)), problem.limits())

    def allocation(self, indices: Sequence[int] | np.ndarray) -> Allocation:
        """The allocation of ``indices``, in network order."""
        taken = zip(self.groups, self.choices, indices, strict=True)
        return Allocation({group: own[int(i)] for group, own, i in taken})

    def indices(self, allocation: Allocation) -> np.ndarray:
        """Inverse of ``allocation``: (groups,) int."""
        taken = zip(self.groups, self.choices, strict=True)
        return np.array([own.index(allocation[group]) for group, own in taken])

    def total(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """What ``indices`` cost: (measures,), to the last digit what the problem says."""
        return summed(own[int(i)] for own, i in zip(self.costs, indices, strict=True))

    def fits(self, indices: Sequence[int] | np.ndarray) -> bool:
        """Whether every limit is kept."""
        return bool((self.total(indices) <= self.limits).all())

    def relative(self) -> list[np.ndarray]:
        """Costs in units of the limits, bounded measures only: (choices, bounded) each.

        A limit of zero is counted in units of the largest cost.
        """
        bounded = np.isfinite(self.limits)
        largest = np.max([own.max(axis=0) for own in self.costs], axis=0)
        unit = np.where(self.limits > 0, self.limits, np.where(largest > 0, largest, 1.0))[bounded]
        return [own[:, bounded] / unit for own in self.costs]

    def excess(self, total: np.ndarray) -> np.ndarray:
        """By how much totals (..., measures) exceed the limits, summed in units of them: (...)."""
        bounded = np.isfinite(self.limits)
        limits = self.limits[bounded]
        over = np.maximum(total[..., bounded] - limits, 0) / np.where(limits > 0, limits, 1.0)
        return over.sum(axis=-1)


def least(problem: SearchProblem) -> np.ndarray:
    """The least that can be reached in each measure, taken alone: (measures,)."""
    return summed(problem.costs(group).min(axis=0) for group in problem.groups)


def infeasible(problem: SearchProblem) -> Infeasible:
    """The error where nothing fits: the least and the limit of every bounded measure."""
    several = np.isfinite(problem.limits()).sum() > 1
    return Infeasible(
        f"no allocation meets budget {problem.budget}: the least that can be reached"
        f"{' in each measure alone' if several else ''} is {of_limits(problem, least(problem))}"
    )


def of_limits(problem: SearchProblem, totals: np.ndarray) -> str:
    """Totals (measures,) beside the limits, those that bound anything: "5 of 4 BitOPs"."""
    rows = zip(problem.units, totals, problem.limits(), strict=True)
    parts = [f"{own:.6g} of {limit:.6g} {unit}" for unit, own, limit in rows if np.isfinite(limit)]
    return ", ".join(parts)


def totals_of(problem: SearchProblem, allocation: Allocation) -> np.ndarray:
    """What an allocation costs: (measures,)."""
    arrays = Arrays.of(problem)
    return arrays.total(arrays.indices(allocation))


def only_allocation(problem: SearchProblem) -> Allocation | None:
    """The one allocation where every group has one choice, ``None`` where there is more to choose.

    Raises Infeasible where that one does not fit.
    """
    if any(len(problem.choices(group)) > 1 for group in problem.groups):
        return None
    only = Allocation({group: problem.choices(group)[0] for group in problem.groups})
    if not problem.fits(only):
        raise infeasible(problem)
    return only


def table_scores(problem: SearchProblem) -> list[np.ndarray]:
    """Additive scores in network order: (choices,) each.

    Raises Exhausted as ``problem.table`` does, and BenchError where a score is not finite.
    """
    table = problem.table()
    for group in problem.groups:
        if not np.isfinite(table[group]).all():
            raise BenchError(f"the table of group {group} has a score that is not finite")
    return [np.asarray(table[group], dtype=float) for group in problem.groups]


def cheapest_feasible(problem: SearchProblem) -> Allocation:
    """The allocation that fits and is cheapest, summed over bounded measures in units of limits.

    Raises Infeasible where nothing fits.
    """
    arrays = Arrays.of(problem)
    sums = [own.sum(axis=1) for own in arrays.relative()]
    found = arrays.allocation([int(own.argmin()) for own in sums])
    return found if problem.fits(found) else _exact(problem, arrays, sums)


def best_or_cheapest(problem: SearchProblem) -> Allocation:
    """What a searcher returns that could not afford its scores: the best scored so far, if any.

    Raises Infeasible where nothing fits.
    """
    best = problem.best()
    return cheapest_feasible(problem) if best is None else best


def random_feasible(
    problem: SearchProblem,
    rng: np.random.Generator | None = None,
    *,
    arrays: Arrays | None = None,
) -> Allocation:
    """A random allocation that fits; ``rng`` is the problem's own where none is given.

    Distribution (our choice): every group draws a choice uniformly. While a limit is exceeded,
    groups in random order draw again, uniformly among their choices that lower the excess, so that
    tight budgets give allocations just within them. Excess falls strictly, so this ends; where it
    ends above a limit, which takes measures that pull apart, an integer program on uniform random
    scores decides. ``arrays`` saves building them again. Raises Infeasible where nothing fits.
    """
    rng = problem.rng if rng is None else rng
    arrays = Arrays.of(problem) if arrays is None else arrays
    if (least(problem) > arrays.limits).any():
        raise infeasible(problem)
    indices = np.array([rng.integers(len(own)) for own in arrays.choices])
    found = arrays.allocation(_repaired(arrays, indices, rng))
    if problem.fits(found):
        return found
    return _exact(problem, arrays, [rng.random(len(own)) for own in arrays.choices])


def _repaired(arrays: Arrays, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fewer and fewer limits exceeded, until none is or no single group can help."""
    total = arrays.total(indices)
    moved = True
    while moved and not (total <= arrays.limits).all():
        moved = False
        for group in rng.permutation(len(indices)):
            own = arrays.costs[group]
            totals = total - own[indices[group]] + own
            lower = np.flatnonzero(arrays.excess(totals) < arrays.excess(total))
            if lower.size:
                indices[group] = rng.choice(lower)
                total, moved = arrays.total(indices), True
            if (total <= arrays.limits).all():
                break
    return indices


def _exact(problem: SearchProblem, arrays: Arrays, scores: Sequence[np.ndarray]) -> Allocation:
    from .knapsack import solve

    indices = solve(scores, arrays)
    if indices is None:
        raise infeasible(problem)
    return arrays.allocation(indices)
