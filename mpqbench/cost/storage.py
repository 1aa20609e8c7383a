"""What a quantized layer takes on disk: packed numbers, fp16 scales, zero points."""

from dataclasses import dataclass

from ..core.formats import ActivationFormat
from ..core.precision import Precision

SCALE_BYTES = 2  # fp16


@dataclass(frozen=True)
class QParamBytes:
    """Bytes of one layer's scales (weight and input) and zero points (weight, then input)."""

    scale: int = 0
    zero: int = 0
    input_zero: int = 0


def packed_bytes(values: int, bits: int) -> int:
    """Return the bytes of ``values`` numbers packed at ``bits`` bits, rounded up."""
    return -(-values * bits // 8)


def qparam_bytes(
    precision: Precision, activation_format: ActivationFormat, scales: int, zeros: int
) -> QParamBytes:
    """Return the bytes of a weight's numbers of ``scales`` and ``zeros``, and of a static input's.

    Scales are fp16, zero points have as many bits as the numbers.
    """
    scale, zero = SCALE_BYTES * scales, packed_bytes(zeros, precision.weight_bits)
    if precision.activation is None or not activation_format.is_static:
        return QParamBytes(scale, zero)
    count = activation_format.time_groups
    input_zeros = 0 if activation_format.symmetric else count
    scale += count * SCALE_BYTES
    return QParamBytes(scale, zero, packed_bytes(input_zeros, precision.activation))
