"""What a quantized layer takes on disk: packed numbers, fp16 scales, zero points."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..core.formats import ActivationFormat, WeightFormat, check_group, grid_count
from ..core.precision import Precision

SCALE_BYTES = 2  # fp16


@dataclass(frozen=True)
class GridBytes:
    """What the quantization grids of one layer take, in bytes: scales of weights and inputs, zero
    points of weights, zero points of inputs."""

    scale: int = 0
    zero: int = 0
    input_zero: int = 0


def packed_bytes(values: int, bits: int) -> int:
    """Bytes of ``values`` numbers packed at ``bits`` bits, rounded up."""
    return -(-values * bits // 8)


def grid_bytes(
    name: str,
    layer: nn.Linear,
    precision: Precision,
    weight_format: WeightFormat,
    activation_format: ActivationFormat,
) -> GridBytes:
    """Stored scales (fp16) and zero points (as many bits as the numbers) of one layer.

    Dynamic activation formats store nothing. Raises BenchError for a group size that does not
    divide the layer's width.
    """
    scale = zero = input_zero = 0
    if precision.weight is not None:
        grids = grid_count(layer.out_features, layer.in_features, weight_format, name)
        scale += grids * SCALE_BYTES
        zero += 0 if weight_format.symmetric else packed_bytes(grids, precision.weight)
    if precision.activation is not None:
        if activation_format.group is not None:
            check_group(name, layer.in_features, activation_format.group)
        if activation_format.is_static:
            count = activation_format.time_groups
            scale += count * SCALE_BYTES
            if not activation_format.symmetric:
                input_zero += packed_bytes(count, precision.activation)
    return GridBytes(scale, zero, input_zero)
