"""Repair of allocations that exceed a limit, with few changes."""

import numpy as np

from ..contracts import SearchProblem
from .arrays import Arrays
from .feasible import random_feasible


def repaired(
    problem: SearchProblem, arrays: Arrays, indices: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return ``indices`` (groups,) with random groups made cheaper until every limit is kept.

    A step takes one group to its costliest choice that lowers the excess (our choice: it keeps the
    result close to the proposal). Where no group can lower the excess any more, a random allocation
    that fits is returned. Raises Infeasible where there is none.
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
            return arrays.indices(random_feasible(problem, rng, arrays=arrays))
    return indices
