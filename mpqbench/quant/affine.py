"""Affine arithmetic: ranges to grids, numbers to integers and back. Everything is vectorised.

Asymmetric: ``s = (max - min) / (2^b - 1)``, ``z = round(-min / s)``, ``q = clamp(round(x / s) + z,
0, 2^b - 1)``. Symmetric: ``s = max|x| / (2^(b-1) - 1)``, ``z = 0``, ``q`` in ``[-2^(b-1),
2^(b-1) - 1]``. Both give back ``s (q - z)``; halves round to even. The textbook grid, e.g.
arXiv 1806.08342, sections 2.1 and 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..contracts import QuantizedWeight
from ..core.errors import BenchError
from ..core.formats import WeightFormat, check_group
from ..core.precision import HIGHEST, LOWEST


@dataclass(frozen=True)
class QParams:
    """The 2^bits numbers ``scale * (q - zero)``.

    ``scale`` and ``zero`` are floats or tensors that broadcast against what is quantized; ``zero``
    is integer-valued and fits in ``bits`` bits.
    """

    scale: torch.Tensor | float
    zero: torch.Tensor | float
    bits: int
    symmetric: bool

    @property
    def lowest(self) -> int:
        """Smallest integer."""
        return -(2 ** (self.bits - 1)) if self.symmetric else 0

    @property
    def highest(self) -> int:
        """Largest integer."""
        return self.lowest + 2**self.bits - 1


def grid_from_range(low: torch.Tensor, high: torch.Tensor, bits: int, symmetric: bool) -> QParams:
    """The grid of ranges ``[low, high]``, two float tensors of one shape.

    The range is widened to include zero, so that zero stays exact and ``z`` fits in ``bits`` bits.
    Scales are kept between the smallest normal number and the largest whose products are finite
    (our choice): denormal ranges collapse to zero, and a range about as wide as the float maximum
    saturates. NaN or infinite ends give NaN or infinite scales: they are not hidden. Raises
    BenchError for bits outside 2 to 8.
    """
    if not LOWEST <= bits <= HIGHEST:
        raise BenchError(f"a grid has {LOWEST} to {HIGHEST} bits, not {bits}")
    info = torch.finfo(low.dtype)
    low, high = low.clamp(max=0), high.clamp(min=0)
    largest = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
    if symmetric:
        scale = (torch.maximum(-low, high) / largest).clamp_(min=info.tiny)
        zero = torch.zeros_like(scale)
    else:
        scale = (high * 0.5 - low * 0.5) / (largest * 0.5)  # halves: high - low may overflow
        scale = scale.clamp_(min=info.tiny)
        zero = (-low / scale).round_().clamp_(0, largest)
    limit = info.max / largest * (1 - info.eps)
    return QParams(torch.where(scale.isinf(), scale, scale.clamp(max=limit)), zero, bits, symmetric)


def range_of(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest value over the last axis, which is kept with length one."""
    # Two reductions: on a CPU they are faster than torch.aminmax over the last axis.
    return blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)


def quantize(x: torch.Tensor, grid: QParams) -> torch.Tensor:
    """Integers of ``x`` on ``grid``, as floats of x's type so that NaN stays NaN.

    Values outside the range saturate, infinity included.
    """
    integers = x.div(grid.scale).round_()
    if not grid.symmetric:
        integers.add_(grid.zero)
    return integers.clamp_(grid.lowest, grid.highest)


def dequantize(integers: torch.Tensor, grid: QParams) -> torch.Tensor:
    """Values of integers (in a float type) on ``grid``."""
    return (integers - grid.zero) * grid.scale


def round_trip(x: torch.Tensor, grid: QParams) -> torch.Tensor:
    """``dequantize(quantize(x))`` in one buffer; values outside the range saturate."""
    values = quantize(x, grid)
    if not grid.symmetric:
        values.sub_(grid.zero)
    return values.mul_(grid.scale)


def fake_quantize_dynamic(x: torch.Tensor, bits: int, symmetric: bool) -> torch.Tensor:
    """``x`` on the grid of its own range over the last axis: what ``round_trip`` gives, faster.

    No value is below the range it was measured on, and ``round`` is odd, so ``round(x / s) >= -z``
    needs no clamp; only a tie can step over the other end. Without subtracting what was added,
    this is four passes over ``x`` after the two that find the range.
    """
    grid = grid_from_range(*range_of(x), bits, symmetric)
    values = x.div(grid.scale).round_()
    if not symmetric:
        torch.minimum(values, torch.as_tensor(grid.highest - grid.zero), out=values)
    return values.mul_(grid.scale)


def fake_quantize(x: torch.Tensor, grid: QParams) -> torch.Tensor:
    """``x`` on any ``grid``, same shape; NaN and infinity give NaN instead of saturating."""
    return round_trip(x, grid).add_(x, alpha=0)  # 0 x is NaN where x is not finite


def weight_blocks(weight: torch.Tensor, fmt: WeightFormat, layer: str) -> torch.Tensor:
    """Weight (out, in) as (out or 1, groups, columns): one scale for each last axis.

    Raises BenchError where a group size does not divide ``in``.
    """
    if fmt.granularity == "tensor":
        return weight.reshape(1, 1, -1)
    if fmt.group is None:
        return weight.unsqueeze(1)
    check_group(layer, weight.shape[1], fmt.group)
    return weight.reshape(weight.shape[0], -1, fmt.group)


def quantize_weight(
    weight: torch.Tensor, fmt: WeightFormat, bits: int, layer: str
) -> QuantizedWeight:
    """Weight (out, in) rounded to nearest on the min-max grid of ``fmt``, in float32.

    A non-finite weight leaves a non-finite scale. Raises BenchError as ``weight_blocks`` does.
    """
    blocks = weight_blocks(weight.float(), fmt, layer)
    grid = grid_from_range(*range_of(blocks), bits, fmt.symmetric)
    integers = quantize(blocks, grid).nan_to_num_(0).to(torch.int16)  # the scale carries the NaN
    scale, zero = (torch.as_tensor(part).squeeze(-1) for part in (grid.scale, grid.zero))
    return QuantizedWeight(integers.reshape(weight.shape), scale, zero, bits)


def weight_rows(weight: torch.Tensor, fmt: WeightFormat, layer: str) -> torch.Tensor:
    """Weight (out, in) as (out, groups, columns), also where all rows share one grid.

    Scales and zero points (out or 1, groups, 1) broadcast against it. Raises BenchError as
    ``weight_blocks`` does.
    """
    blocks = weight_blocks(weight, fmt, layer)
    return weight.unsqueeze(1) if fmt.granularity == "tensor" else blocks


def minmax_grid(weight: torch.Tensor, fmt: WeightFormat, bits: int, layer: str) -> QParams:
    """The min-max grids of weight (out, in), scale and zero (out or 1, groups, 1)."""
    return grid_from_range(*range_of(weight_blocks(weight, fmt, layer)), bits, fmt.symmetric)


def pack(integers: torch.Tensor, grid: QParams) -> QuantizedWeight:
    """Integers (out, groups, columns) in a float type, on the grids of ``weight_rows``.

    NaN becomes 0: the scale of a non-finite weight carries it.
    """
    scale, zero = (torch.as_tensor(part).squeeze(-1) for part in (grid.scale, grid.zero))
    whole = integers.flatten(1).nan_to_num(0).to(torch.int16)
    return QuantizedWeight(whole, scale, zero, grid.bits)
