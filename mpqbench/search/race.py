"""Early dropping: a candidate leaves when a cheaper one is already known to be better."""

from __future__ import annotations

import numpy as np
from scipy.stats import t

FEWEST = 8  # inputs before anything is decided: below, a t interval says little
BATCH = 16  # inputs between two decisions; our choice: see benchmarks/README.md


def dominated(errors: np.ndarray, costs: np.ndarray, level: float) -> np.ndarray:
    """Which of n candidates are dominated for sure: (n,) bool.

    errors: (n, inputs) of the same inputs for all, so that differences are paired; costs: (n,).
    A candidate is dominated where another one costs no more and its mean error is lower by a
    one-sided paired t test at ``level`` divided by n - 1, one for each rival (Bonferroni). The
    errors are skewed and the test is repeated with every batch, so the level is nominal (our
    choice). Nothing is decided below 8 inputs.
    """
    count, inputs = errors.shape
    if inputs < FEWEST or count < 2:
        return np.zeros(count, dtype=bool)
    bound = float(t.isf(level / (count - 1), inputs - 1))
    shared = errors - errors.mean(0)  # what inputs have in common would cost the variances digits
    means = shared.mean(1)
    spread = np.sqrt(_difference_variances(shared) / inputs)
    behind = means[:, None] - means  # of a row's candidate to a column's rival
    cheaper = costs <= costs[:, None]
    return (cheaper & (behind > 0) & (behind > bound * spread)).any(1)


def _difference_variances(errors: np.ndarray) -> np.ndarray:
    """Sample variances of all pairs' differences, by their covariances: (n, n)."""
    covariances = np.cov(errors)
    own = covariances.diagonal()
    return np.maximum(own[:, None] + own - 2 * covariances, 0)
