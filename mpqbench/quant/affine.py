"""Affine quantization: scales and zero points from ranges, numbers to integers and back.

Asymmetric: ``s = (max - min) / (2^b - 1)``, ``z = round(-min / s)``, ``q = clamp(round(x / s) + z,
0, 2^b - 1)``. Symmetric grids have ``z = 0`` and ``q`` in ``[-2^(b-1), 2^(b-1) - 1]``, in two
kinds: "full" has ``s = 2 max|x| / (2^b - 1)`` and uses all 2^b levels (IST-DASLab's GPTQ with
``sym``, which stores q + 2^(b-1)); "restricted" has ``s = max|x| / (2^(b-1) - 1)``, so that the
range itself has 2^b - 1 levels and the lowest integer is for clipped ranges alone (SmoothQuant,
QuaRot). Dequantized, all are ``s (q - z)``; halves round to even. See arXiv 1806.08342, sections
2.1 and 2.2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch

from ..contracts import QuantizedWeight
from ..core.errors import BenchError
from ..core.formats import Symmetry, WeightFormat, check_group
from ..core.precision import HIGHEST, LOWEST
from ..dit import native


@dataclass(frozen=True)
class QParams:
    """Quantization parameters: the 2^bits numbers ``scale * (q - zero)``.

    ``scale`` and ``zero`` (integer-valued, of ``bits`` bits) are floats or tensors that broadcast
    against what is quantized.
    """

    scale: torch.Tensor | float
    zero: torch.Tensor | float
    bits: int
    symmetric: Symmetry

    @property
    def lowest(self) -> int:
        """Smallest integer."""
        return -(2 ** (self.bits - 1)) if self.symmetric else 0

    @property
    def highest(self) -> int:
        """Largest integer."""
        return self.lowest + 2**self.bits - 1


def qparams_from_range(
    low: torch.Tensor, high: torch.Tensor, bits: int, symmetric: Symmetry
) -> QParams:
    """Return the parameters for ranges ``[low, high]``, two float tensors of one shape.

    Ranges are widened to include zero, so that zero stays exact and ``z`` fits in ``bits`` bits.
    Scales are kept between the smallest normal number and the largest whose products are finite
    (our choice): denormal ranges collapse to zero, and a range about as wide as the float maximum
    saturates. A range that is not finite gives a scale that is not finite. Raises BenchError for
    bits outside 2 to 8.
    """
    if not LOWEST <= bits <= HIGHEST:
        raise BenchError(f"a quantizer has {LOWEST} to {HIGHEST} bits, not {bits}")
    low, high = low.clamp(max=0), high.clamp(min=0)
    least, most = _scales(bits, symmetric, low.dtype)
    steps = _steps(bits, symmetric)
    if symmetric:
        scale = (torch.maximum(-low, high) / steps).clamp_(min=least)
        zero = torch.zeros_like(scale)
    else:
        scale = (high * 0.5 - low * 0.5) / (steps * 0.5)  # halves: high - low may overflow
        scale = scale.clamp_(min=least)
        zero = (-low / scale).round_().clamp_(0, steps)
    return QParams(torch.where(scale.isinf(), scale, scale.clamp(max=most)), zero, bits, symmetric)


def _steps(bits: int, symmetric: Symmetry) -> float:
    """Return how many steps the range, or the larger side of a symmetric one, is divided into."""
    if not symmetric:
        return 2**bits - 1
    return 2 ** (bits - 1) - (0.5 if symmetric == "full" else 1)


def _scales(bits: int, symmetric: Symmetry, dtype: torch.dtype) -> tuple[float, float]:
    """Return the smallest normal number and the largest whose products with integers are finite."""
    info, largest = torch.finfo(dtype), math.ceil(_steps(bits, symmetric))
    return info.tiny, info.max / largest * (1 - info.eps)


def range_of(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the minimum and maximum over the last axis, which is kept with length one."""
    # Two reductions: on a CPU they are faster than torch.aminmax over the last axis.
    return blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)


def quantize(x: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """Return integers in the float type of ``x``; infinity saturates, and NaN stays NaN."""
    integers = x.div(qparams.scale).round_()
    if not qparams.symmetric:
        integers.add_(qparams.zero)
    return integers.clamp_(qparams.lowest, qparams.highest)


def dequantize(integers: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """Return the values of integers (in a float type)."""
    return (integers - qparams.zero) * qparams.scale


def quantize_dequantize(x: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """Return ``dequantize(quantize(x))``, computed in one buffer."""
    values = quantize(x, qparams)
    if not qparams.symmetric:
        values.sub_(qparams.zero)
    return values.mul_(qparams.scale)


def fake_quantize(x: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """Return ``quantize_dequantize(x)``, but NaN where ``x`` is not finite."""
    return quantize_dequantize(x, qparams).add_(x, alpha=0)


def fake_quantize_dynamic(
    x: torch.Tensor, bits: int, symmetric: Symmetry, *, in_place: bool = False
) -> torch.Tensor:
    """Fake-quantize ``x`` with a min-max range for each vector along its last axis.

    Equals ``quantize_dequantize`` but is faster: no value is below its own range, so that only the
    upper end needs a clamp (for ties), and the zero point need not be added and subtracted. With
    ``in_place`` the result may overwrite ``x``.
    """
    if LOWEST <= bits <= HIGHEST and native.takes(x, x.shape[-1]):
        return native.fake_quantize_rows(x, _grid(bits, symmetric), x if in_place else None)
    qparams = qparams_from_range(*range_of(x), bits, symmetric)
    values = x.div(qparams.scale).round_()
    torch.minimum(values, torch.as_tensor(qparams.highest - qparams.zero), out=values)
    return values.mul_(qparams.scale)


@cache
def _grid(bits: int, symmetric: Symmetry) -> native.RowGrid:
    highest = 2 ** (bits - 1) - 1 if symmetric else -1
    return native.RowGrid(
        _steps(bits, symmetric), highest, *_scales(bits, symmetric, torch.float32)
    )


def straight_through(
    quantizer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    """Return ``quantizer(x)``, through which gradients pass unchanged."""
    with torch.no_grad():  # the quantizer works in place
        values = quantizer(x)
    return x + (values - x).detach() if torch.is_grad_enabled() and x.requires_grad else values


def weight_blocks(weight: torch.Tensor, fmt: WeightFormat, layer: str) -> torch.Tensor:
    """View weight (out, in) as (out or 1, groups, columns), one scale for each last axis.

    Raises BenchError where a group size does not divide ``in``.
    """
    if fmt.granularity == "tensor":
        return weight.reshape(1, 1, -1)
    return weight_rows(weight, fmt, layer)


def weight_rows(weight: torch.Tensor, fmt: WeightFormat, layer: str) -> torch.Tensor:
    """View weight (out, in) as (out, groups, columns), also where all rows share one scale.

    Scales and zero points are (out or 1, groups, 1). Raises BenchError as ``weight_blocks``.
    """
    if fmt.group is None:
        return weight.unsqueeze(1)
    check_group(layer, weight.shape[1], fmt.group)
    return weight.reshape(weight.shape[0], -1, fmt.group)


def minmax_qparams(weight: torch.Tensor, fmt: WeightFormat, bits: int, layer: str) -> QParams:
    """Return the parameters for the min-max ranges of weight (out, in), each (out or 1, groups, 1).

    Raises BenchError as ``weight_blocks``.
    """
    return qparams_from_range(*range_of(weight_blocks(weight, fmt, layer)), bits, fmt.symmetric)


def pack(integers: torch.Tensor, qparams: QParams) -> QuantizedWeight:
    """Pack integers (out, groups, columns) of a float type with the parameters of ``weight_rows``.

    NaN becomes 0: the scale of a non-finite weight is not finite.
    """
    scale, zero = (torch.as_tensor(part).squeeze(-1) for part in (qparams.scale, qparams.zero))
    whole = integers.flatten(1).nan_to_num(0).to(torch.int16)
    return QuantizedWeight(whole, scale, zero, qparams.bits)


def round_to_nearest(
    weight: torch.Tensor, qparams: QParams, fmt: WeightFormat, layer: str
) -> QuantizedWeight:
    """Round weight (out, in) to nearest, halves to even. Raises BenchError as ``weight_blocks``."""
    return pack(quantize(weight_rows(weight, fmt, layer), qparams), qparams)


def quantize_weight(
    weight: torch.Tensor, fmt: WeightFormat, bits: int, layer: str
) -> QuantizedWeight:
    """Round weight (out, in) to nearest with min-max ranges, in float32.

    Raises BenchError as ``weight_blocks``.
    """
    weight = weight.float()
    return round_to_nearest(weight, minmax_qparams(weight, fmt, bits, layer), fmt, layer)
