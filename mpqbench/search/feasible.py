"""Allocations within the budget, and the frames ``search_table`` and ``search_scored``.

The frames say what a searcher returns where there is nothing to choose, where nothing fits, and
where the allowance ends too early.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ..contracts import SearchProblem
from ..core.errors import BenchError, Exhausted, Infeasible
from ..core.precision import Allocation
from .arrays import Arrays, summed
from .knapsack import solve


def search_table(
    problem: SearchProblem, choose: Callable[[Arrays, list[np.ndarray]], Allocation]
) -> Allocation:
    """As ``search_scored``; ``choose`` is given additive scores too, (choices,) for each group."""
    return search_scored(problem, lambda arrays: choose(arrays, table_scores(problem)))


def search_scored(
    problem: SearchProblem, explore: Callable[[Arrays], Allocation | None]
) -> Allocation:
    """Return what ``explore`` finds, or else the best allocation that was scored jointly.

    Where every group has one choice, that is the answer, and nothing is scored. Where the allowance
    ended before an allocation was scored, the cheapest is. The problem is told where the allowance
    ended the search. Raises Infeasible where nothing fits, before anything is paid for.
    """
    if (only := only_allocation(problem)) is not None:
        return only
    cheapest, found = cheapest_feasible(problem), None
    try:
        found = explore(Arrays.of(problem))
    except Exhausted:
        best = problem.best()
        remark_end(problem, "the cheapest allocation" if best is None else "the best one scored")
        return best or cheapest
    return found or problem.best() or cheapest


def remark_end(problem: SearchProblem, answer: str) -> None:
    """Remark that the allowance ended the search, and what the answer is instead."""
    problem.remark(
        f"the allowance of {problem.allowance:g} forwards ended the search early: the answer is "
        f"{answer}"
    )


def only_allocation(problem: SearchProblem) -> Allocation | None:
    """Return the allocation where only one exists. Raises Infeasible where it does not fit."""
    if any(len(problem.choices(group)) > 1 for group in problem.groups):
        return None
    only = Allocation({group: problem.choices(group)[0] for group in problem.groups})
    if not problem.fits(only):
        raise infeasible(problem)
    return only


def fitting_uniforms(problem: SearchProblem) -> list[Allocation]:
    """Return every allocation of one precision that all groups offer and that fits."""
    first, *others = (problem.choices(group) for group in problem.groups)
    common = [p for p in first if all(p in choices for choices in others)]
    every = [Allocation(dict.fromkeys(problem.groups, precision)) for precision in common]
    return [allocation for allocation in every if problem.fits(allocation)]


def joint_price(problem: SearchProblem, count: int) -> float:
    """Return the most forwards that ``count`` complete allocations take, and the uniform ones."""
    whole = {group: problem.choices(group)[0] for group in problem.groups}
    return (len(fitting_uniforms(problem)) + count) * problem.price(whole)


def table_scores(problem: SearchProblem) -> list[np.ndarray]:
    """Return the additive scores in network order. Raises Exhausted, BenchError if not finite."""
    table = problem.table()
    for group in problem.groups:
        if not np.isfinite(table[group]).all():
            raise BenchError(f"the table of group {group} has a score that is not finite")
    return [np.asarray(table[group], dtype=float) for group in problem.groups]


def least(problem: SearchProblem) -> np.ndarray:
    """Return the least that can be reached in each measure, taken alone: (measures,)."""
    return summed(problem.costs(group).min(axis=0) for group in problem.groups)


def infeasible(problem: SearchProblem) -> Infeasible:
    """Return the error for a budget that nothing meets: the least and the limit of each measure."""
    alone = " in each measure alone" if np.isfinite(problem.limits()).sum() > 1 else ""
    return Infeasible(
        f"no allocation meets budget {problem.budget}: the least that can be reached{alone} is "
        f"{_of_limits(problem, least(problem))}"
    )


def compared_with_limits(problem: SearchProblem, allocation: Allocation) -> str:
    """Return the costs of ``allocation`` beside the limits, as in "5 of 4 BitOPs"."""
    arrays = Arrays.of(problem)
    return _of_limits(problem, arrays.total(arrays.indices(allocation)))


def _of_limits(problem: SearchProblem, totals: np.ndarray) -> str:
    rows = zip(problem.units, totals, problem.limits(), strict=True)
    return ", ".join(f"{n:.6g} of {limit:.6g} {u}" for u, n, limit in rows if np.isfinite(limit))


def cheapest_feasible(problem: SearchProblem) -> Allocation:
    """Return the cheapest allocation that fits, by bounded costs in units of the limits.

    Raises Infeasible where nothing fits.
    """
    arrays = Arrays.of(problem)
    sums = [costs.sum(axis=1) for costs in arrays.relative()]
    found = arrays.allocation([int(costs.argmin()) for costs in sums])
    return found if problem.fits(found) else _exact(problem, arrays, sums)


def random_feasible(
    problem: SearchProblem, rng: np.random.Generator | None = None, *, arrays: Arrays | None = None
) -> Allocation:
    """Draw a random allocation that fits, with the problem's ``rng`` where none is given.

    Distribution (our choice): every group draws a choice uniformly. While a limit is exceeded,
    groups in random order draw again, uniformly among their choices that lower the excess. A tight
    budget therefore gives allocations just within it. With measures that pull apart this may end
    above a limit: an integer program on uniform random scores then decides, which is remarked.
    ``arrays`` saves building the arrays again. Raises Infeasible where nothing fits.
    """
    rng = problem.rng if rng is None else rng
    arrays = Arrays.of(problem) if arrays is None else arrays
    if (least(problem) > arrays.limits).any():
        raise infeasible(problem)
    indices = np.array([rng.integers(len(choices)) for choices in arrays.choices])
    found = arrays.allocation(_redrawn(arrays, indices, rng))
    if problem.fits(found):
        return found
    problem.remark(
        "some random allocations are optima of random scores, as redrawing kept no limit"
    )
    return _exact(problem, arrays, [rng.random(len(choices)) for choices in arrays.choices])


def _redrawn(arrays: Arrays, indices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw groups again until every limit is kept or no single group can lower the excess."""
    total, moved = arrays.total(indices), True
    while moved and not (total <= arrays.limits).all():
        moved = False
        for group in rng.permutation(len(indices)):
            costs = arrays.costs[group]
            totals = total - costs[indices[group]] + costs
            lower = np.flatnonzero(arrays.excess(totals) < arrays.excess(total))
            if lower.size:
                indices[group] = rng.choice(lower)
                total, moved = arrays.total(indices), True
            if (total <= arrays.limits).all():
                break
    return indices


def _exact(problem: SearchProblem, arrays: Arrays, scores: Sequence[np.ndarray]) -> Allocation:
    indices = solve(scores, arrays)
    if indices is None:
        raise infeasible(problem)
    return arrays.allocation(indices)


def repaired(
    problem: SearchProblem, arrays: Arrays, indices: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return ``indices`` (groups,) with random groups made cheaper until every limit is kept.

    A step takes one group to its costliest choice that lowers the excess (our choice: it keeps the
    result close to the proposal). Where no group can lower the excess any more, a random allocation
    that fits is returned, which is remarked. Raises Infeasible where there is none.
    """
    indices = indices.copy()
    sums = [costs.sum(axis=1) for costs in arrays.relative()]
    while not arrays.fits(indices):
        total = arrays.total(indices)
        excess = arrays.excess(total) * (1 - 1e-12)  # a difference in rounding lowers nothing
        for group in rng.permutation(len(indices)):
            costs = arrays.costs[group]
            lower = np.flatnonzero(arrays.excess(total - costs[indices[group]] + costs) < excess)
            if lower.size:
                indices[group] = lower[sums[group][lower].argmax()]
                break
        else:
            problem.remark("some proposals above a limit were replaced by random ones that fit")
            return arrays.indices(random_feasible(problem, rng, arrays=arrays))
    return indices
