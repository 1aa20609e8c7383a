"""Allocations around a budget that favour no objective."""

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

    Each starts from the budget's own precision everywhere and is moved in some groups, in half of
    them to a cheaper choice and, as far as what that saved goes, in others to a dearer one; choices
    are drawn uniformly among the cheaper and among the dearer ones. The number of moved groups
    grows in equal ratios from two to all (our choice). A search ends near the beginning of that
    range or not at all: drawn over all choices instead, allocations are so bad that their order
    says nothing. No objective has a say, or its rank correlation would be measured on allocations
    of its own making. Raises BenchError where the budget's precision is no choice of some group,
    or where there are too few allocations.
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
    """``base`` everywhere: (groups,)."""
    for group, own in zip(arrays.groups, arrays.choices, strict=True):
        if base not in own:
            raise BenchError(f"{base} is no choice of group {group}: samples start from it")
    return np.array([own.index(base) for own in arrays.choices])


def _walk(arrays: Arrays, start: np.ndarray, moves: int, rng: np.random.Generator) -> np.ndarray:
    """``start`` with ``moves`` groups drawn anew, the first half cheaper, the others dearer."""
    indices = start.copy()
    groups = rng.permutation(len(start))[:moves]
    for number, group in enumerate(groups):
        own = arrays.costs[group]
        change = own - own[start[group]]
        cheaper = np.flatnonzero((change <= 0).all(axis=1) & (change < 0).any(axis=1))
        allowed = cheaper if number < (moves + 1) // 2 else _dearer(arrays, indices, group)
        if allowed.size:
            indices[group] = rng.choice(allowed)
    return indices


def _dearer(arrays: Arrays, indices: np.ndarray, group: int) -> np.ndarray:
    """Choices of ``group`` that cost more than its own and still fit."""
    own = arrays.costs[group]
    total = arrays.total(indices) - own[indices[group]] + own
    fits = arrays.excess(total) <= 0
    return np.flatnonzero(fits & (own[:, 0] > own[indices[group], 0]))
