"""Clipping a weight's range: the search over candidate ranges that several roundings share.

A narrower range clips the largest weights and rounds all others more finely. Every search starts
from the min-max range and takes another one only where its error is strictly smaller, grid by grid,
so none of them loses to min-max in its own error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch

from ..contracts import QuantizedWeight
from ..core.formats import WeightFormat
from .affine import (
    QParams,
    grid_from_range,
    minmax_grid,
    pack,
    quantize,
    range_of,
    round_trip,
    weight_blocks,
    weight_rows,
)

Range = tuple[torch.Tensor, torch.Tensor]  # low and high, each (out or 1, groups, 1)
Measure = Callable[[torch.Tensor], torch.Tensor]  # (rows, groups, columns) to (rows, groups, 1)

STEPS, SMALLEST = 100, 0.2
_CHUNK_ON_CPU, _CHUNK = 2**16, 2**24  # weights at a time: on a CPU so few that they stay in cache


def weight_error(exponent: float = 2.0) -> Measure:
    """``sum |w - w^|^exponent`` over each grid's columns."""

    def measure(residual: torch.Tensor) -> torch.Tensor:
        if exponent == 2.0:
            return residual.square().sum(-1, keepdim=True)
        return residual.abs().pow_(exponent).sum(-1, keepdim=True)

    return measure


def output_error(moment: torch.Tensor, groups: int) -> Measure:
    """Mean of ``(x (w - w^))^2`` over calibration rows x, restricted to each grid's own columns.

    ``moment`` (in, in) is the mean of ``x x^T``; its diagonal blocks are all this needs, so the
    error covers every calibration row at the price of none. Up to a positive factor.
    """
    columns = moment.shape[0] // groups
    tiles = moment.reshape(groups, columns, groups, columns).diagonal(dim1=0, dim2=2)
    tiles = tiles.permute(2, 0, 1) / moment.abs().amax().clamp(min=torch.finfo(moment.dtype).tiny)

    def measure(residual: torch.Tensor) -> torch.Tensor:
        product = (residual.transpose(0, 1) @ tiles).transpose(0, 1)
        return product.mul_(residual).sum(-1, keepdim=True).clamp_(min=0)

    return measure


def shrunk_ranges(low: torch.Tensor, high: torch.Tensor, steps: int, smallest: float) -> Iterator:
    """``[low, high]`` times ``steps`` factors, evenly spaced from 1 down to above ``smallest``."""
    for step in range(steps):
        factor = 1 - step * (1 - smallest) / steps
        yield low * factor, high * factor


def best_grid(
    weight: torch.Tensor,
    fmt: WeightFormat,
    bits: int,
    layer: str,
    ranges: Iterable[Range],
    measure: Measure,
) -> QParams:
    """The grid of least error for every block of weight (out, in), float32.

    Candidates are the min-max range, then ``ranges``; the first of equals wins. In a symmetric
    format a second fixed candidate lets the far end fall on the extra negative integer: without
    it, a weight that was clipped and rounded once would change when rounded again. Residuals are
    measured relative to the block's largest weight, which no power of them can overflow. Raises
    BenchError as ``weight_blocks`` does.
    """
    rows = weight_rows(weight, fmt, layer)
    low, high = range_of(weight_blocks(weight, fmt, layer))
    size = torch.maximum(-low, high).clamp_(min=torch.finfo(low.dtype).tiny)
    best = grid_from_range(low, high, bits, fmt.symmetric)
    scale, zero = torch.as_tensor(best.scale), torch.as_tensor(best.zero)
    least = _errors(rows, best, size, measure)
    if fmt.symmetric:
        extra = 1 - 2.0 ** (1 - bits)
        ranges = [(low * extra, high * extra), *ranges]
    for candidate in ranges:
        grid = grid_from_range(*candidate, bits, fmt.symmetric)
        error = _errors(rows, grid, size, measure)
        better = error < least  # never true of NaN: a non-finite weight keeps its min-max grid
        least = torch.where(better, error, least)
        scale = torch.where(better, torch.as_tensor(grid.scale), scale)
        zero = torch.where(better, torch.as_tensor(grid.zero), zero)
    return QParams(scale, zero, bits, fmt.symmetric)


def _errors(
    rows: torch.Tensor, grid: QParams, size: torch.Tensor, measure: Measure
) -> torch.Tensor:
    """Error of each grid: (out, groups, 1), or (1, 1, 1) where all rows share one."""
    scale, zero = torch.as_tensor(grid.scale), torch.as_tensor(grid.zero)
    chunk = _CHUNK_ON_CPU if rows.device.type == "cpu" else _CHUNK
    count = max(1, chunk // (rows.shape[1] * rows.shape[2]))
    errors = []
    for start in range(0, rows.shape[0], count):
        own = slice(start, start + count) if scale.shape[0] > 1 else slice(None)
        part = rows[start : start + count]
        values = round_trip(part, QParams(scale[own], zero[own], grid.bits, grid.symmetric))
        errors.append(measure(values.sub_(part).div_(size[own])))
    error = torch.cat(errors)
    return error if scale.shape[0] > 1 else error.sum(0, keepdim=True)


def chosen_grid(
    weight: torch.Tensor, fmt: WeightFormat, bits: int, layer: str, kind: str
) -> QParams:
    """The min-max grids of weight (out, in), or with ``kind`` "mse" those of least weight error.

    Raises BenchError as ``weight_blocks`` does.
    """
    if kind == "minmax":
        return minmax_grid(weight, fmt, bits, layer)
    low, high = range_of(weight_blocks(weight, fmt, layer))
    ranges = shrunk_ranges(low, high, STEPS, SMALLEST)
    return best_grid(weight, fmt, bits, layer, ranges, weight_error())


def nearest_on(
    weight: torch.Tensor, grid: QParams, fmt: WeightFormat, layer: str
) -> QuantizedWeight:
    """Weight (out, in) to the nearest numbers of ``grid``, halves to even."""
    return pack(quantize(weight_rows(weight, fmt, layer), grid), grid)
