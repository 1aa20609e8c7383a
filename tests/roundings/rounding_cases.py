"""Formats, layers and errors that the tests of roundings share."""

import pytest

from mpqbench.contracts import LayerData
from mpqbench.core.formats import WeightFormat

FORMATS = [
    WeightFormat(granularity=granularity, group=group, symmetric=symmetric)
    for granularity, group in [("tensor", None), ("channel", None), ("group", 8)]
    for symmetric in ("restricted", False, "full")
]
fmt_of = pytest.mark.parametrize("fmt", FORMATS, ids=str)


def layer_of(weight, moment=None, name="up"):
    """What a rounding is told of a layer with ``weight``."""
    return LayerData(name, weight.shape[1], weight.shape[0], moment=moment)


def row_errors(rounded, weight, moment):
    """Output errors (out,) in float64 over inputs with ``moment``."""
    residual = rounded.dequantize().double() - weight.double()
    return ((residual @ moment.double()) * residual).sum(1)
