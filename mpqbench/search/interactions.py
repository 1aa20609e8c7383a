"""Least ``x^T G x`` with one choice for each group and every limit kept: CLADO's program."""

import time
from collections.abc import Sequence

import numpy as np

from .arrays import Arrays

ENUMERATED = 200_000  # allocations that are tried one and all: a fraction of a second


def projected(matrix: np.ndarray) -> np.ndarray:
    """Return the positive semidefinite matrix nearest to symmetric ``matrix`` (Frobenius norm)."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def value(matrix: np.ndarray, starts: np.ndarray, indices: np.ndarray) -> float:
    """Return ``x^T G x`` of choices ``indices``; ``starts`` (groups,) are first rows of groups."""
    rows = starts + indices
    return float(matrix[np.ix_(rows, rows)].sum())


def row_starts(arrays: Arrays) -> np.ndarray:
    """Return the row of every group's first choice: (groups,)."""
    sizes = [len(choices) for choices in arrays.choices]
    return np.cumsum([0, *sizes[:-1]])


def enumerated(matrix: np.ndarray, arrays: Arrays) -> np.ndarray | None:
    """Return the optimum by enumeration; ``None`` where there is too much or nothing fits."""
    sizes = [len(choices) for choices in arrays.choices]
    count = np.prod(np.array(sizes, dtype=float))
    if count > ENUMERATED:
        return None
    every = np.indices(sizes).reshape(len(sizes), -1).T
    rows = every + row_starts(arrays)
    costs = np.concatenate(arrays.costs)[rows].sum(axis=1)
    values = np.zeros(len(every))
    for one in range(len(sizes)):
        values += matrix[rows[:, one][:, None], rows].sum(axis=1)
    values[(costs > arrays.limits * (1 + 1e-9)).any(axis=1)] = np.inf
    for at in np.argsort(values, kind="stable"):
        if not np.isfinite(values[at]):
            return None
        if arrays.fits(every[at]):  # in the exact order of summation
            return every[at]
    return None


def local_search(
    matrix: np.ndarray, arrays: Arrays, starts: Sequence[np.ndarray], time_limit: float
) -> np.ndarray:
    """The best local optimum reached from ``starts``, choices (groups,) each that fit.

    Every step is the best change of at most two groups that keeps every limit. Stops after
    ``time_limit`` seconds with the best so far, but not before the first step, and remarks that.
    """
    deadline = time.perf_counter() + time_limit
    first_row = row_starts(arrays)
    best, least = np.asarray(starts[0]), np.inf
    for start in starts:
        indices = np.asarray(start).copy()
        while (better := _step(matrix, arrays, indices)) is not None:
            indices = better
            if time.perf_counter() >= deadline:
                break
        reached = value(matrix, first_row, indices)
        if reached < least:
            best, least = indices, reached
        if time.perf_counter() >= deadline:
            arrays.remark(f"the local search stopped after {time_limit:g} s with the best so far")
            break
    return best


def _step(matrix: np.ndarray, arrays: Arrays, indices: np.ndarray) -> np.ndarray | None:
    """Return ``indices`` after the best improving change of two groups or one, if there is any."""
    owner = np.repeat(np.arange(len(indices)), [len(choices) for choices in arrays.choices])
    now = row_starts(arrays) + indices  # rows of the present choices
    costs = np.concatenate(arrays.costs)
    field = 2 * matrix[:, now].sum(axis=1) - 2 * matrix[np.arange(len(matrix)), now[owner]]
    alone = field + np.diag(matrix)
    alone -= alone[now[owner]]
    held = now[owner]
    between = matrix - matrix[:, held] - matrix[held] + matrix[held][:, held]
    change = alone[:, None] + alone + 2 * between
    same = owner[:, None] == owner
    change[same] = np.where(np.eye(len(matrix), dtype=bool), alone, np.inf)[same]
    dearer = costs - costs[now[owner]]
    slack = arrays.limits - arrays.total(indices)
    for at in np.flatnonzero(np.isfinite(arrays.limits)):
        both = dearer[:, at][:, None] + dearer[:, at]
        both[np.diag_indices_from(both)] = dearer[:, at]
        change[both > slack[at] + 1e-9 * abs(arrays.limits[at])] = np.inf
    scale = np.abs(matrix).max() * 1e-12
    while change.min() < -scale:
        one, two = np.unravel_index(int(change.argmin()), change.shape)
        moved = indices.copy()
        for row in (one, two):
            moved[owner[row]] = row - row_starts(arrays)[owner[row]]
        if arrays.fits(moved):
            return moved
        change[one, two] = change[two, one] = np.inf  # fits but for rounding
    return None
