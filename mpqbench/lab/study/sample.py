"""Random allocations around a budget, for the study of proxies."""

from __future__ import annotations

import numpy as np

from ...core.errors import BenchError
from ...core.precision import Allocation, Precision
from ...search.arrays import Arrays
from ...search.problem import Problem

FEWEST_MOVES = 2
_TRIES = 200  # draws of a move before a walk is given up


def sample_allocations(problem: Problem, count: int, rng: np.random.Generator) -> list[Allocation]:
    """``count`` distinct allocations within the limits, from nearly uniform to thoroughly mixed.

    Each allocation starts from the budget's own precision everywhere. Some groups are changed: half
    of them to a cheaper choice, and the others to a more expensive one as far as the budget allows;
    choices are drawn uniformly. The number of changed groups grows in equal ratios from two to all
    (our choice), because searches end near the uniform allocation; allocations drawn over all
    choices are too bad for their order to be informative. No objective takes part, as its rank
    correlation would then be measured on allocations that it chose. Raises BenchError if the
    budget's precision is no choice of some group, and if there are too few allocations.
    """
    arrays = Arrays.of(problem)
    base = problem.budget.precision
    start = _uniform(arrays, base)
    found: dict[Allocation, None] = {}
    for moves in np.geomspace(FEWEST_MOVES, len(arrays.groups), count):
        for _ in range(_TRIES):
            each = arrays.allocation(_walk(arrays, start, round(float(moves)), rng))
            if each not in found:
                found[each] = None
                break
        else:
            raise BenchError(f"there are too few allocations around {base} to sample {count}")
    return list(found)


def _uniform(arrays: Arrays, base: Precision) -> np.ndarray:
    """Return the choice numbers (groups,) of ``base`` everywhere."""
    for group, own in zip(arrays.groups, arrays.choices, strict=True):
        if base not in own:
            raise BenchError(f"{base} is no choice of group {group}: samples start from it")
    return np.array([own.index(base) for own in arrays.choices])


def _walk(arrays: Arrays, start: np.ndarray, moves: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``start`` with ``moves`` groups changed, the first half to cheaper choices."""
    indices = start.copy()
    groups = rng.permutation(len(start))[:moves]
    for number, group in enumerate(groups):
        own = arrays.costs[group]
        change = own - own[start[group]]
        cheaper = np.flatnonzero((change <= 0).all(axis=1) & (change < 0).any(axis=1))
        allowed = cheaper if number < (moves + 1) // 2 else _more_expensive(arrays, indices, group)
        if allowed.size:
            indices[group] = rng.choice(allowed)
    return indices


def _more_expensive(arrays: Arrays, indices: np.ndarray, group: int) -> np.ndarray:
    """Return the choices of ``group`` that cost more than its own and still fit."""
    own = arrays.costs[group]
    total = arrays.total(indices) - own[indices[group]] + own
    fits = arrays.excess(total) <= 0
    return np.flatnonzero(fits & (own[:, 0] > own[indices[group], 0]))
