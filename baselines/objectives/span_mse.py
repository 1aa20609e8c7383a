"""The error that lasts over a few sampling steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpqbench.contracts import Objective, plugin
from mpqbench.core.errors import BenchError

if TYPE_CHECKING:
    import torch


@plugin
class SpanMSE(Objective):
    """Errors of ``span`` consecutive steps of one image, summed before they are squared: joint.

    ``|e_1 + ... + e_k|^2 / k`` (our choice), on full precision's own latents. A mean squared error
    counts an error that is the same at every step no more than one that changes its sign, but a
    trajectory does: the one adds up and the other partly cancels. Errors of rounded weights are of
    the first kind, those of rounded activations less so.
    """

    whole_batches = True
    span: int = 10

    def __post_init__(self) -> None:
        if self.span < 2:
            raise BenchError(
                f"span must be at least 2, not {self.span}: 'output-mse' counts steps one by one"
            )

    def distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """(candidates, n), the same for all inputs of a span; n is a multiple of ``span``."""
        errors = outputs.double() - targets.double()
        sums = errors.unflatten(1, (-1, self.span)).sum(2)
        scores = sums.square().flatten(2).mean(2) / self.span
        return scores.repeat_interleave(self.span, 1)
