"""Checks of roundings."""

import torch

from ..contracts import LayerData, QuantizedWeight, Rounding
from ..quant.affine import quantize_weight
from ..quant.verify import (
    expect,
    expect_bits,
    expect_integers,
    expect_scales,
    expect_values,
    expect_zeros,
)
from .check import Check, checks_of
from .layer_checks import LayerChecks, Tensors
from .layers import SampleLayer, layers_in_formats
from .models import WHERE


def checks(plugin: Rounding, quick: bool) -> list[Check]:
    """Return all checks of a rounding."""
    tests, layers, few = _RoundingChecks(plugin), layers_in_formats(quick), layers_in_formats(True)
    usual = [layer for layer in layers if not layer.hostile]
    return [
        *checks_of(layers, tests.shapes, tests.bits, tests.values),
        *checks_of(few, tests.repeatable),
        *checks_of(usual, tests.error),
        *checks_of([WHERE], tests.model),
    ]


class _RoundingChecks(LayerChecks):
    def call(self, weight: torch.Tensor, layer: LayerData) -> QuantizedWeight:
        return self.plugin.round(weight, layer, layer.weight_format, layer.precision.weight_bits)

    def tensors(self, made: QuantizedWeight, weight: torch.Tensor, x: torch.Tensor) -> Tensors:
        return {"integers": made.integers, "scale": made.scale, "zero": made.zero}

    def shapes(self, layer: SampleLayer) -> None:
        """Integers, scales and zero points have the types and shapes of the format, and no more."""
        made = self.made(layer)
        expect_integers(made, layer.weight.shape)
        expect_scales(made, layer.fmt)

    def bits(self, layer: SampleLayer) -> None:
        """Integers and whole zero points fit in the bits that were asked for."""
        made = self.made(layer)
        expect_bits(made, layer.bits)
        expect_zeros(made, layer.fmt)

    def values(self, layer: SampleLayer) -> None:
        """``dequantize()`` is finite and gives ``scale * (integers - zero)``."""
        made = self.made(layer)
        expect_values(made, made.dequantize())

    def error(self, layer: SampleLayer) -> None:
        """On ordinary layers the error is at most ``error_bound`` times nearest rounding's.

        The error is that of outputs where the plugin knows the inputs, else that of the weight.
        """
        nearest = quantize_weight(layer.weight, layer.fmt, layer.bits, str(layer))
        times = self._error(layer, self.made(layer)) / self._error(layer, nearest)
        bound = self.plugin.error_bound
        expect(
            times <= bound,
            f"the squared error is {times:.3g} times nearest rounding's; error_bound allows "
            f"{bound:g}",
        )

    def _error(self, layer: SampleLayer, result: QuantizedWeight) -> float:
        difference = (result.dequantize() - layer.weight).double()
        if self.plugin.needs_inputs:
            difference = layer.inputs.double() @ difference.T
        return float(difference.square().sum())
