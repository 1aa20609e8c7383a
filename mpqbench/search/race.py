"""Early dropping: a candidate leaves when a cheaper one is already known to be better."""

from __future__ import annotations

import numpy as np
from scipy.stats import t

FEWEST = 8  # inputs before anything is decided: below, a t interval says little


def beaten(errors: np.ndarray, costs: np.ndarray, level: float) -> np.ndarray:
    """Which of n candidates are dominated for sure: (n,) bool.

    errors: (n, inputs) of the same inputs for all, so that differences are paired; costs: (n,).
    A candidate is dominated where another one costs no more and its mean error is lower by a
    one-sided paired t test at ``level`` divided by n - 1, one for each rival (Bonferroni). The
    errors are skewed, so the level is nominal (our choice). Nothing is decided below 8 inputs.
    """
    count, inputs = errors.shape
    if inputs < FEWEST or count < 2:
        return np.zeros(count, dtype=bool)
    bound = float(t.isf(level / (count - 1), inputs - 1))
    order = np.argsort(costs, kind="stable")
    lost = np.zeros(count, dtype=bool)
    for candidate in range(count):
        rivals = order[(costs[order] <= costs[candidate]) & (order != candidate)]
        difference = errors[candidate] - errors[rivals]
        mean = difference.mean(1)
        spread = difference.std(1, ddof=1) / np.sqrt(inputs)
        lost[candidate] = bool(((mean > 0) & (mean > bound * spread)).any())
    return lost
