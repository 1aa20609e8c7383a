"""Checks of roundings."""

import torch

from ..contracts import LayerData, QuantizedWeight, Rounding
from ..core.formats import scale_count
from ..quant.affine import quantize_weight
from .check import Check, checks_of, expect, expect_close, expect_range, expect_tensor
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
        result, (out, width) = self.made(layer), layer.weight.shape
        kind = type(result).__name__
        expect(isinstance(result, QuantizedWeight), f"round gave a {kind}, not a QuantizedWeight")
        expect_tensor("integers", result.integers, (out, width), torch.int16)
        for name, part in (("scale", result.scale), ("zero", result.zero)):
            fits = part.ndim == 2 and part.shape[0] in (1, out) and width % part.shape[1] == 0
            expect(fits, f"{name} is {tuple(part.shape)}, not (out or 1, groups)")
            expect_tensor(name, part, part.shape)
            count = scale_count(out, width, layer.fmt, str(layer))
            expect(part.numel() == count, f"{name} has {part.numel()} numbers, the format {count}")

    def bits(self, layer: SampleLayer) -> None:
        """Integers and whole zero points fit in the bits that were asked for."""
        result, zero = self.made(layer), self.made(layer).zero
        expect(result.bits == layer.bits, f"the result has {result.bits} bits, not {layer.bits}")
        expect_range("integers", result.integers, layer.bits)
        expect(torch.equal(zero, zero.round()), "zero points must be whole numbers")
        expect_range("zero points", zero, layer.bits)
        allowed = not layer.fmt.symmetric or not zero.any()
        expect(allowed, "a symmetric format has zero points of 0 alone")

    def values(self, layer: SampleLayer) -> None:
        """``dequantize()`` is finite and gives ``scale * (integers - zero)``."""
        result = self.made(layer)
        given, stored = result.dequantize(), QuantizedWeight.dequantize(result)
        expect_tensor("dequantize()", given, stored.shape)
        expect_close("dequantize() differs from scale * (integers - zero)", given, stored, 1e-6)

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
