"""Random allocations around a budget, for the study of proxies."""

import numpy as np

from ...core.errors import BenchError
from ...core.precision import Allocation
from ...search.arrays import Arrays
from ...search.problem import Problem

FEWEST_MOVES = 2
_TRIES = 200  # draws of a move before a walk is given up


def sample_allocations(problem: Problem, count: int, rng: np.random.Generator) -> list[Allocation]:
    """Return ``count`` distinct allocations within the limits, from nearly uniform to mixed.

    Each starts from the budget's own precision everywhere. Half of the changed groups get a
    cheaper choice, the others a more expensive one as far as the budget allows, drawn uniformly.
    The number of changed groups grows in equal ratios from two to all (our choice), because
    searches end near the uniform allocation. No objective takes part, as its rank correlation
    would then be measured on allocations that it chose. Raises BenchError if the budget's
    precision is no choice of some group, and if there are too few allocations.
    """
    arrays = Arrays.of(problem)
    base = problem.budget.precision
    for group, choices in zip(arrays.groups, arrays.choices, strict=True):
        if base not in choices:
            raise BenchError(f"{base} is no choice of group {group}: samples start from it")
    start = np.array([choices.index(base) for choices in arrays.choices])
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


def _walk(arrays: Arrays, start: np.ndarray, moves: int, rng: np.random.Generator) -> np.ndarray:
    """Return ``start`` with ``moves`` groups changed, the first half to cheaper choices."""
    indices = start.copy()
    groups = rng.permutation(len(start))[:moves]
    for number, group in enumerate(groups):
        costs, now = arrays.costs[group], arrays.costs[group][start[group]]
        if number < (moves + 1) // 2:
            is_allowed = (costs <= now).all(axis=1) & (costs < now).any(axis=1)
        else:  # choices that cost more and still fit
            total = arrays.total(indices) - now + costs
            is_allowed = (arrays.excess(total) <= 0) & (costs[:, 0] > now[0])
        if is_allowed.any():
            indices[group] = rng.choice(np.flatnonzero(is_allowed))
    return indices
