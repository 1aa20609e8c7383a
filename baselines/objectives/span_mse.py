"""The error that lasts over a few sampling steps."""

from typing import Annotated

import torch
from pydantic import Field

from mpqbench.contracts import Objective, plugin


@plugin
class SpanMSE(Objective):
    """Errors of ``span`` consecutive steps of one image, summed before they are squared: joint.

    ``|e_1 + ... + e_k|^2 / k`` (our choice), on full precision's own latents. To a mean squared
    error, an error that is the same at every step counts no more than an error that changes its
    sign. Along a trajectory the first error adds up and the second partly cancels. Errors of
    rounded weights are of the first kind, errors of rounded activations less so.
    """

    whole_batches = True
    span: Annotated[int, Field(ge=2)] = 10  # 'output-mse' counts steps one by one

    def distance(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return (candidates, n), the same for all inputs of a span; n is a multiple of it."""
        errors = outputs.double() - targets.double()
        sums = errors.unflatten(1, (-1, self.span)).sum(2)
        scores = sums.square().flatten(2).mean(2) / self.span
        return scores.repeat_interleave(self.span, 1)
