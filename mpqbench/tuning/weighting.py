"""Weights of errors by noise level: functions of recorded rows to weights (n,)."""

from collections.abc import Callable

import torch

from ..contracts import Recorded

Weighting = Callable[[Recorded], torch.Tensor]

SNR_BOUND = 5.0
LEVELS = 20  # noise levels of as many inputs each; each step of a sampler of few steps is one


def uniform(rows: Recorded) -> torch.Tensor:
    """Return a weight of 1 for each row."""
    return rows.signal.new_ones(len(rows))


def bounded_snr(rows: Recorded) -> torch.Tensor:
    """Return ``min(SNR, 5) / SNR`` (arXiv 2303.09556, for predicted noise)."""
    ratio = rows.signal / (1 - rows.signal).clamp(min=1e-12)
    return (SNR_BOUND / ratio).clamp(max=1)


def min_snr(train: Recorded) -> Weighting:
    """Return ``bounded_snr`` divided by its mean over ``train``."""
    mean = float(bounded_snr(train).double().mean())
    return lambda rows: bounded_snr(rows) / mean


def balanced(rows: Recorded, errors: torch.Tensor) -> Weighting:
    """Return weights that make ``errors`` (n,) of ``rows`` 1 on average at every noise level.

    The time axis is divided into at most ``LEVELS`` parts of as many rows. A level without an error
    gets the weight of the level with the least error. Our choice: the squared error of predicted
    noise is a hundred times larger in the last, nearly clean steps than in the first, whose errors
    decide what the image shows; unweighted training improves the last steps at the expense of the
    first.
    """
    times = rows.times.sort().values
    edges = times[
        torch.arange(1, LEVELS) * len(times) // LEVELS
    ].unique()  # first of the part above

    def level(of: Recorded) -> torch.Tensor:
        return torch.bucketize(of.times, edges, right=True)

    levels = level(rows)
    sums = errors.new_zeros(len(edges) + 1, dtype=torch.float64)
    sums.index_add_(0, levels, errors.double())
    means = sums / torch.bincount(levels, minlength=len(sums)).clamp(min=1)
    found = means[means > 0]
    least = found.min() if len(found) else means.new_ones(())
    factors = (1 / means.clamp(min=float(least))).float()
    return lambda rows: factors[level(rows)]
