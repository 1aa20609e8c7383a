"""Racing: a candidate is dropped once a cheaper one is known to be better.

After Hoeffding races (Maron and Moore, 1994) and F-Race (Birattari et al., 2002), here with paired
t tests.
"""

import numpy as np
from scipy.stats import t

FEWEST = 8  # inputs before the first decision: with fewer, a t interval says little
BATCH = 16  # inputs between two decisions; our choice: see benchmarks/README.md


def dominated(errors: np.ndarray, costs: np.ndarray, level: float) -> np.ndarray:
    """Return which of n candidates are significantly dominated: (n,) bool.

    ``errors`` (n, inputs) are of the same inputs for all, so that differences are paired; ``costs``
    is (n,). A candidate is dominated where another one costs no more and has a lower mean error by
    a one-sided paired t test at ``level`` divided by n - 1, the number of tests (Bonferroni). The
    level is nominal, as errors are skewed and the test is repeated with every batch (our choice).
    With fewer than 8 inputs no candidate is dominated.
    """
    count, inputs = errors.shape
    if inputs < FEWEST or count < 2:
        return np.zeros(count, dtype=bool)
    bound = float(t.isf(level / (count - 1), inputs - 1))
    shared = errors - errors.mean(0)  # keeps digits: inputs have much in common
    means = shared.mean(1)
    spread = np.sqrt(_difference_variances(shared) / inputs)
    behind = means[:, None] - means  # of the candidate of a row, behind that of a column
    cheaper = costs <= costs[:, None]
    return (cheaper & (behind > 0) & (behind > bound * spread)).any(1)


def _difference_variances(errors: np.ndarray) -> np.ndarray:
    """Return the sample variances of the differences of all pairs, from covariances: (n, n)."""
    covariances = np.cov(errors)
    own = covariances.diagonal()
    return np.maximum(own[:, None] + own - 2 * covariances, 0)
