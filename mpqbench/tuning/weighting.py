"""Weights of errors by noise level."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..contracts import Recorded

SNR_BOUND = 5.0
LEVELS = 20  # noise levels of as many inputs each; each step of a sampler of few steps is one


@dataclass(frozen=True)
class Levels:
    """A factor for every part of the time axis: ``factors`` (k,), divided at ``edges`` (k - 1,).

    An edge is the first time of the part above.
    """

    edges: torch.Tensor
    factors: torch.Tensor

    def __call__(self, rows: Recorded) -> torch.Tensor:
        """Return weights (n,) of rows."""
        return self.factors[_part(rows.times, self.edges)]


@dataclass(frozen=True)
class MinSNR:
    """``min(SNR, 5) / SNR`` (arXiv 2303.09556, for predicted noise), divided by ``mean``."""

    mean: float = 1.0

    def __call__(self, rows: Recorded) -> torch.Tensor:
        """Return weights (n,) of rows."""
        ratio = rows.signal / (1 - rows.signal).clamp(min=1e-12)
        return (SNR_BOUND / ratio).clamp(max=1) / self.mean


def uniform(rows: Recorded) -> torch.Tensor:
    """Return a weight of 1 for each row."""
    return rows.signal.new_ones(len(rows))


def min_snr(train: Recorded) -> MinSNR:
    """Return weights whose mean over ``train`` is 1."""
    return MinSNR(float(MinSNR()(train).double().mean()))


def balanced(rows: Recorded, errors: torch.Tensor) -> Levels:
    """Return factors that make ``errors`` (n,) of ``rows`` 1 on average at every noise level.

    The time axis is divided into at most ``LEVELS`` parts of as many rows. A level without an error
    gets the factor of the level with the least error. Our choice: the squared error of predicted
    noise is a hundred times larger in the last, nearly clean steps than in the first, whose errors
    decide what the image shows; unweighted training improves the last steps at the expense of the
    first.
    """
    times = rows.times.sort().values
    edges = times[torch.arange(1, LEVELS) * len(times) // LEVELS].unique()
    level = _part(rows.times, edges)
    sums = errors.new_zeros(len(edges) + 1, dtype=torch.float64).index_add_(
        0, level, errors.double()
    )
    means = sums / torch.bincount(level, minlength=len(sums)).clamp(min=1)
    found = means[means > 0]
    least = found.min() if len(found) else means.new_ones(())
    return Levels(edges, (1 / means.clamp(min=float(least))).float())


def _part(times: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    return torch.bucketize(times, edges, right=True)
