"""Inception score over contiguous splits, as the ADM evaluator computes it."""

import numpy as np
from scipy.special import entr, log_softmax

from ..core.jackknife import Estimate

SPLIT = 5000


def inception_score(
    logits: np.ndarray, groups: np.ndarray | None = None, split: int = SPLIT
) -> Estimate:
    """Return exp(mean KL(p(y|x) | p(y))) of ``logits`` (N, c), averaged over splits of images.

    Splits of ``split`` images are contiguous in stored order; a shorter last split counts as one
    (Salimans et al. 2016, splits as in the ADM evaluator). A replicate leaves one of ``groups``
    (N,) out of every split, so that the number of splits stays.
    """
    log_p = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    p = np.exp(log_p)
    entropy = entr(p).sum(axis=1)
    dealt = np.zeros(len(p), dtype=np.int64) if groups is None else groups
    count = int(dealt.max()) + 1
    values, left_out = [], []
    for start in range(0, len(p), split):
        part = slice(start, start + split)
        sizes = np.bincount(dealt[part], minlength=count)
        sums = np.zeros((count, p.shape[1]))
        np.add.at(sums, dealt[part], p[part])
        entropies = np.bincount(dealt[part], weights=entropy[part], minlength=count)
        totals = sizes.sum(), sums.sum(axis=0), entropies.sum()
        values.append(_score(*totals))
        if groups is not None:
            rest = (totals[0] - sizes, totals[1] - sums, totals[2] - entropies)
            left_out.append([_score(*part_rest) for part_rest in zip(*rest, strict=True)])
    replicates = np.mean(left_out, axis=0).tolist() if left_out else []
    return Estimate(float(np.mean(values)), tuple(replicates))


def _score(size: int, sums: np.ndarray, entropy: float) -> float:
    """Return exp(H(mean p) - mean H(p)), equal to exp(mean KL), from sums over ``size`` images."""
    if size == 0:
        return 1.0  # the group left out was the whole split: no images, no information
    marginal = np.clip(sums / size, 0.0, None)
    return float(np.exp(entr(marginal).sum() - entropy / size))
