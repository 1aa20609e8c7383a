"""Calibration of weight ranges: the search for the clipped range of least error.

A narrower range clips the largest weights and rounds all others more finely. A search begins with
the min-max range and takes another one only where its error is strictly smaller, so that it never
loses to min-max in its own error.
"""

from collections.abc import Callable, Iterable, Iterator

import torch

from ..core.formats import Symmetry, WeightFormat
from .affine import (
    QParams,
    minmax_qparams,
    qparams_from_range,
    quantize_dequantize,
    range_of,
    weight_blocks,
    weight_rows,
)

Range = tuple[torch.Tensor, torch.Tensor]  # low and high, each (out or 1, groups, 1)
Criterion = Callable[[torch.Tensor], torch.Tensor]  # residual (rows, groups, columns) to error

STEPS = 100
SMALLEST = 0.2
_CHUNK_ON_CPU, _CHUNK = 2**16, 2**24  # weights at a time: on a CPU so few that they stay in cache


def weight_error(exponent: float = 2.0) -> Criterion:
    """Return the criterion ``sum |w - w^|^exponent``."""

    def error(residual: torch.Tensor) -> torch.Tensor:
        if exponent == 2.0:
            return residual.square().sum(-1, keepdim=True)
        return residual.abs().pow_(exponent).sum(-1, keepdim=True)

    return error


def output_error(moment: torch.Tensor, groups: int) -> Criterion:
    """Return the criterion ``mean (x (w - w^))^2`` over calibration rows x, up to a factor.

    Each group of columns is seen alone: of ``moment`` (in, in), the mean of ``x x^T``, only the
    diagonal blocks are used.
    """
    columns = moment.shape[0] // groups
    tiles = moment.reshape(groups, columns, groups, columns).diagonal(dim1=0, dim2=2)
    tiles = tiles.permute(2, 0, 1) / moment.abs().amax().clamp(min=torch.finfo(moment.dtype).tiny)

    def error(residual: torch.Tensor) -> torch.Tensor:
        product = (residual.transpose(0, 1) @ tiles).transpose(0, 1)
        return product.mul_(residual).sum(-1, keepdim=True).clamp_(min=0)

    return error


def shrunk_ranges(low: torch.Tensor, high: torch.Tensor, steps: int, smallest: float) -> Iterator:
    """Yield ``[low, high]`` times ``steps`` factors, evenly spaced from 1 to above ``smallest``."""
    for step in range(steps):
        factor = 1 - step * (1 - smallest) / steps
        yield low * factor, high * factor


def least_error_qparams(
    rows: torch.Tensor,
    ranges: Iterable[Range],
    criterion: Criterion,
    bits: int,
    symmetric: Symmetry,
) -> QParams:
    """Return the parameters of least error, scale by scale, among those of ``ranges``.

    ``rows`` (out, groups, columns) float32 as of ``weight_rows``; the first of ``ranges`` is
    min-max. Symmetric formats have other fixed candidates, in which the far end falls on an end of
    the integers: otherwise a rounded weight would change when rounded again.
    Residuals are relative to the largest weight, so that no power of them overflows.
    """
    (low, high), *others = ranges
    others = [(low * factor, high * factor) for factor in _to_ends(bits, symmetric)] + others
    size = torch.maximum(-low, high).clamp_(min=torch.finfo(low.dtype).tiny)
    best = qparams_from_range(low, high, bits, symmetric)
    scale, zero = torch.as_tensor(best.scale), torch.as_tensor(best.zero)
    least = _errors(rows, best, size, criterion)
    for candidate in others:
        qparams = qparams_from_range(*candidate, bits, symmetric)
        error = _errors(rows, qparams, size, criterion)
        better = error < least  # never true of NaN: a non-finite weight keeps its min-max range
        least = torch.where(better, error, least)
        scale = torch.where(better, torch.as_tensor(qparams.scale), scale)
        zero = torch.where(better, torch.as_tensor(qparams.zero), zero)
    return QParams(scale, zero, bits, symmetric)


def _to_ends(bits: int, symmetric: Symmetry) -> tuple[float, ...]:
    """Return by what a range changes so that its far end is an integer at the end of the grid."""
    if symmetric == "full":
        ends = 2.0 ** (bits - 1), 2.0 ** (bits - 1) - 1
        return tuple((2.0 ** (bits - 1) - 0.5) / end for end in ends)
    return (1 - 2.0 ** (1 - bits),) if symmetric else ()


def _errors(
    rows: torch.Tensor, qparams: QParams, size: torch.Tensor, criterion: Criterion
) -> torch.Tensor:
    """Return the error of each scale, (out, groups, 1), or (1, 1, 1) where all rows share one."""
    scale, zero = torch.as_tensor(qparams.scale), torch.as_tensor(qparams.zero)
    chunk = _CHUNK_ON_CPU if rows.device.type == "cpu" else _CHUNK
    count = max(1, chunk // (rows.shape[1] * rows.shape[2]))
    errors = []
    for start in range(0, rows.shape[0], count):
        at = slice(start, start + count) if scale.shape[0] > 1 else slice(None)
        part = rows[start : start + count]
        values = quantize_dequantize(
            part, QParams(scale[at], zero[at], qparams.bits, qparams.symmetric)
        )
        errors.append(criterion(values.sub_(part).div_(size[at])))
    error = torch.cat(errors)
    return error if scale.shape[0] > 1 else error.sum(0, keepdim=True)


def weight_qparams(
    weight: torch.Tensor, fmt: WeightFormat, bits: int, layer: str, kind: str
) -> QParams:
    """Return the parameters of weight (out, in): min-max, or for "mse" those of least weight error.

    Raises BenchError as ``weight_blocks``.
    """
    if kind == "minmax":
        return minmax_qparams(weight, fmt, bits, layer)
    ranges = shrunk_ranges(*range_of(weight_blocks(weight, fmt, layer)), STEPS, SMALLEST)
    rows = weight_rows(weight, fmt, layer)
    return least_error_qparams(rows, ranges, weight_error(), bits, fmt.symmetric)
