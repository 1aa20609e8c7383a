"""The quantizer of a linear layer's input: static per tensor, or dynamic per token (group)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..core.errors import BenchError, Diverged
from ..core.formats import ActivationFormat
from .affine import QParams, fake_quantize, fake_quantize_dynamic, grid_from_range
from .ranges import Clock


@dataclass(frozen=True)
class ActivationQuantizer:
    """Fake-quantizes inputs (..., tokens, in) in float32, with the same shape.

    ``grids`` are the calibrated ones of a static format, one for each time group, and empty where
    every token (or every ``group`` channels of it) gets its own in each forward. ``clock`` tells
    the time group where there are several.
    """

    bits: int
    fmt: ActivationFormat
    grids: tuple[QParams, ...] = ()
    clock: Clock | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if len(self.grids) == 1:
            return fake_quantize(x, self.grids[0])
        if self.grids:
            return fake_quantize(x, self._grid_of_its_time(x))
        if self.fmt.group is None:
            return fake_quantize_dynamic(x, self.bits, self.fmt.symmetric)
        blocks = x.unflatten(-1, (-1, self.fmt.group))
        return fake_quantize_dynamic(blocks, self.bits, self.fmt.symmetric).flatten(-2)

    def _grid_of_its_time(self, x: torch.Tensor) -> QParams:
        if self.clock is None:
            raise BenchError(f"{len(self.grids)} time-grouped grids need a clock")
        scale, zero = (
            self.clock.pick(torch.tensor([getattr(grid, part) for grid in self.grids]), x)
            for part in ("scale", "zero")
        )
        return QParams(scale, zero, self.bits, self.fmt.symmetric)


def static_quantizer(
    layer: str,
    ranges: Sequence[tuple[float, float]],
    bits: int,
    fmt: ActivationFormat,
    clock: Clock | None = None,
) -> ActivationQuantizer:
    """A quantizer on calibrated ``ranges``, one for each time group of ``fmt``.

    Raises Diverged for a range that is not finite and BenchError for one that is reversed.
    """
    grids = tuple(static_grid(layer, low, high, bits, fmt.symmetric) for low, high in ranges)
    return ActivationQuantizer(bits, fmt, grids, clock)


def static_grid(layer: str, low: float, high: float, bits: int, symmetric: bool) -> QParams:
    """The grid of a calibrated range, held as plain floats so that moving a model keeps it exact.

    Raises Diverged for a range that is not finite and BenchError for one that is reversed.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Diverged(f"layer {layer}: its calibrated input range is [{low}, {high}]")
    if low > high:
        raise BenchError(f"layer {layer}: its input range [{low}, {high}] is reversed")
    ends = torch.tensor([low, high], dtype=torch.float32)
    grid = grid_from_range(ends[0], ends[1], bits, symmetric)
    return QParams(float(grid.scale), float(grid.zero), bits, symmetric)
