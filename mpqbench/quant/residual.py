"""A branch and a rounded residual that are fitted to each other in turn (SVDQuant)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..contracts import FittedBranch, QuantizedWeight
from ..core.errors import BenchError


@dataclass(frozen=True)
class Alternation:
    """The best pair found: the layer's weight is ``branch.dense() + rounded.dequantize()``.

    ``errors`` are those of all rounds in order; only the last may exceed the one before it, and it
    is not the one that was kept.
    """

    branch: FittedBranch
    rounded: QuantizedWeight
    errors: tuple[float, ...]


def alternate(
    weight: torch.Tensor,
    fit: Callable[[torch.Tensor, FittedBranch | None], FittedBranch],
    rounded: Callable[[torch.Tensor], QuantizedWeight],
    error: Callable[[torch.Tensor], float | torch.Tensor],
    iterations: int,
) -> Alternation:
    """Alternate ``L = fit(W - R^)`` and ``R^ = rounded(W - L)``, beginning with R^ = 0.

    ``fit`` is given a matrix (out, in) and the branch of the round before, ``None`` at first, and
    returns the branch that approximates the matrix: for SVDQuant (arXiv 2411.05007) the truncated
    SVD. ``rounded`` is any rounding of the rest; ``error`` measures the combined weight ``L + R^``
    and should be finite. Stops after ``iterations`` rounds or with the first that is no better, and
    keeps the best. Raises BenchError for fewer than one round.
    """
    if iterations < 1:
        raise BenchError(f"the residual loop needs at least 1 iteration, not {iterations}")
    kept: tuple[FittedBranch, QuantizedWeight] | None = None
    errors: list[float] = []
    rest = weight
    for _ in range(iterations):
        branch = fit(rest, None if kept is None else kept[0])
        dense = branch.dense()
        residual = rounded(weight - dense)
        values = residual.dequantize()
        errors.append(float(error(dense + values)))
        if kept is not None and not errors[-1] < errors[-2]:
            break
        kept = branch, residual
        rest = weight - values
    assert kept is not None
    return Alternation(*kept, tuple(errors))
