"""Held-out inputs with what full precision gives on them: the output error no plugin can fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..core.errors import Diverged
from .calibration import CalibrationSet
from .statistics import read_tensors, write_tensors


@dataclass(frozen=True)
class HeldOut:
    """Inputs of the transformer and ``outputs`` (n, channels, h, w) float32 of full precision."""

    inputs: CalibrationSet
    outputs: torch.Tensor

    def mse(self, transformer: Any, batch: int, device: str) -> torch.Tensor:
        """Mean squared errors (channels,) of what ``transformer`` gives, float64.

        The first channels are the predicted noise, the others the variance where it is learned.
        Raises Diverged where an output is not finite.
        """
        given = evaluate(transformer, self.inputs, batch, device)
        errors = (given.double() - self.outputs.double()).square().mean((0, 2, 3))
        if not errors.isfinite().all():
            raise Diverged("the output of the transformer on held-out inputs is not finite")
        return errors


def held_out(
    path: Path, transformer: Any, record: Callable[[], CalibrationSet], batch: int, device: str
) -> HeldOut:
    """From the file at ``path``, or made and written there; then ``transformer`` must be full
    precision. Raises BenchError where the file is damaged."""
    if path.is_file():
        parts = read_tensors(path)
        outputs = parts.pop("outputs")
        return HeldOut(CalibrationSet(**parts), outputs)
    inputs = record()
    outputs = evaluate(transformer, inputs, batch, device)
    write_tensors(path, vars(inputs) | {"outputs": outputs})
    return HeldOut(inputs, outputs)


@torch.no_grad()
def evaluate(transformer: Any, inputs: CalibrationSet, batch: int, device: str) -> torch.Tensor:
    """Outputs (n, channels, h, w) float32, on the CPU."""
    dtype = next(transformer.parameters()).dtype
    parts = [
        transformer(latents.to(device, dtype), times.to(device), classes.to(device)).sample
        for latents, times, classes in inputs.batches(batch)
    ]
    return torch.cat([part.float().cpu() for part in parts])
