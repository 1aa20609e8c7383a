"""Bringing any choice of precisions within the limits, as little changed as possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .feasible import Arrays, random_feasible

if TYPE_CHECKING:
    from ..contracts import SearchProblem


def repaired(
    problem: SearchProblem, arrays: Arrays, indices: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """``indices`` (groups,) with random groups made cheaper, one step each, until all limits hold.

    A step is to the costliest choice that lowers the excess (our choice: what a search proposed
    stays recognizable). Where no group can lower it any more, a random allocation that fits takes
    the place; raises Infeasible where there is none.
    """
    indices = indices.copy()
    sums = [own.sum(axis=1) for own in arrays.relative()]
    while not arrays.fits(indices):
        total = arrays.total(indices)
        excess = arrays.excess(total) * (1 - 1e-12)  # a difference in rounding lowers nothing
        for group in rng.permutation(len(indices)):
            own = arrays.costs[group]
            lower = np.flatnonzero(arrays.excess(total - own[indices[group]] + own) < excess)
            if lower.size:
                indices[group] = lower[sums[group][lower].argmax()]
                break
        else:
            return arrays.indices(random_feasible(problem, rng, arrays=arrays))
    return indices
