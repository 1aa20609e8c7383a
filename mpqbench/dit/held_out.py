"""Held-out inputs and the output error of a quantized model on them."""

from dataclasses import dataclass
from typing import Any

import torch

from ..core.errors import Diverged
from .calibration import CalibrationSet


@dataclass(frozen=True)
class HeldOut:
    """Inputs of the transformer and ``outputs`` (n, channels, h, w) float32 of full precision."""

    inputs: CalibrationSet
    outputs: torch.Tensor

    def mse(self, transformer: Any, batch: int) -> torch.Tensor:
        """Return mean squared errors (channels,) of the outputs of ``transformer``, float64.

        The first channels are the predicted noise, the others the variance where it is learned.
        Raises Diverged where an output is not finite.
        """
        outputs = evaluate(transformer, self.inputs, batch)
        errors = (outputs.double() - self.outputs.double()).square().mean((0, 2, 3))
        if not errors.isfinite().all():
            raise Diverged("the output of the transformer on held-out inputs is not finite")
        return errors


@torch.no_grad()
def evaluate(transformer: Any, inputs: CalibrationSet, batch: int) -> torch.Tensor:
    """Return outputs (n, channels, h, w) float32 on the CPU, ``batch`` inputs at a time."""
    first = next(transformer.parameters())
    parts = [
        transformer(x.to(first), times.to(first.device), classes.to(first.device)).sample
        for x, times, classes in inputs.batches(batch)
    ]
    return torch.cat([part.float().cpu() for part in parts])
