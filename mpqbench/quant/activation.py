"""The quantizer of a linear layer's input: static per tensor, or dynamic per token (group)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..errors import BenchError, Diverged
from ..formats import ActivationFormat
from .affine import Grid, fake_quantize, grid_from_range, range_of, round_trip


@dataclass(frozen=True)
class ActivationQuantizer:
    """Fake-quantizes inputs (..., tokens, in) in float32, with the same shape.

    ``grid`` is the calibrated one of a static format, and ``None`` where every token (or every
    ``group`` channels of it) gets its own in each forward.
    """

    bits: int
    fmt: ActivationFormat
    grid: Grid | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.grid is not None:
            return fake_quantize(x, self.grid)
        if self.fmt.group is None:
            return self._own_range(x)
        return self._own_range(x.unflatten(-1, (-1, self.fmt.group))).flatten(-2)

    def _own_range(self, x: torch.Tensor) -> torch.Tensor:
        return round_trip(x, grid_from_range(*range_of(x), self.bits, self.fmt.symmetric))


def static_grid(layer: str, low: float, high: float, bits: int, symmetric: bool) -> Grid:
    """The grid of a calibrated range, held as plain floats so that moving a model keeps it exact.

    Raises Diverged for a range that is not finite and BenchError for one that is reversed.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Diverged(f"layer {layer}: its calibrated input range is [{low}, {high}]")
    if low > high:
        raise BenchError(f"layer {layer}: its input range [{low}, {high}] is reversed")
    ends = torch.tensor([low, high], dtype=torch.float32)
    grid = grid_from_range(ends[0], ends[1], bits, symmetric)
    return Grid(float(grid.scale), float(grid.zero), bits, symmetric)
