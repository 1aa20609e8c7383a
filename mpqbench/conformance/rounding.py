"""Checks of roundings."""

from __future__ import annotations

import functools

import torch

from ..contracts import LayerData, QuantizedWeight, Rounding
from ..core.formats import grid_count
from ..quant.affine import quantize_weight
from .check import (
    Check,
    checks_of,
    devices,
    expect,
    expect_device,
    expect_range,
    expect_repeatable,
    expect_tensor,
)
from .layers import RoundingCase, cases
from .models import WHERE, check_in_a_model

SAME = 1e-6


def checks(plugin: Rounding, quick: bool) -> list[Check]:
    """Return all checks of a rounding."""
    own, every, few = _RoundingChecks(plugin), cases(quick), cases(quick=True)
    usual = [case for case in every if not case.layer.hostile]
    return [
        *checks_of(every, own.shapes, own.bits, own.values),
        *checks_of(few, own.repeatable),
        *checks_of(usual, own.error),
        *checks_of(devices(), own.device),
        *checks_of([WHERE], own.model),
    ]


class _RoundingChecks:
    def __init__(self, plugin: Rounding) -> None:
        self.plugin = plugin
        self.rounded = functools.cache(self._round)

    def shapes(self, case: RoundingCase) -> None:
        """Integers, scales and zero points have the types and shapes of the format, and no more."""
        result, (out, width) = self.rounded(case), case.layer.weight.shape
        kind = type(result).__name__
        expect(isinstance(result, QuantizedWeight), f"round gave a {kind}, not a QuantizedWeight")
        expect_tensor("integers", result.integers, (out, width), torch.int16)
        for name, part in (("scale", result.scale), ("zero", result.zero)):
            fits = part.ndim == 2 and part.shape[0] in (1, out) and width % part.shape[1] == 0
            shape = part.shape if fits else ("out or 1", "groups")
            expect_tensor(name, part, shape)  # type: ignore[arg-type]
            count = grid_count(out, width, case.fmt, str(case))
            expect(part.numel() == count, f"{name} has {part.numel()} numbers, the format {count}")

    def bits(self, case: RoundingCase) -> None:
        """Integers and whole zero points fit in the bits that were asked for."""
        result, zero = self.rounded(case), self.rounded(case).zero
        expect(result.bits == case.bits, f"the result has {result.bits} bits, not {case.bits}")
        expect_range("integers", result.integers, case.bits)
        expect(torch.equal(zero, zero.round()), "zero points must be whole numbers")
        expect_range("zero points", zero, case.bits)
        largest = float(zero.abs().max())
        expect(
            not case.fmt.symmetric or largest == 0,
            f"a symmetric format has zero points 0, not {largest:g}",
        )

    def values(self, case: RoundingCase) -> None:
        """``dequantize()`` is finite and gives ``scale * (integers - zero)``."""
        result = self.rounded(case)
        given, stored = result.dequantize(), _stored(result)
        expect_tensor("dequantize()", given, stored.shape)
        same = (given - stored).norm() <= SAME * stored.norm()
        expect(same, "dequantize() gives other numbers than scale * (integers - zero)")

    def repeatable(self, case: RoundingCase) -> None:
        """One layer and seed give one result; arguments and global generators are left alone."""

        def parts(weight: torch.Tensor, layer: LayerData) -> list[torch.Tensor]:
            result = self.plugin.round(weight, layer, case.fmt, case.bits)
            return [result.integers, result.scale, result.zero]

        weight, data = case.layer.weight.clone(), self._data(case)
        expect_repeatable("layer.seed", parts, weight=weight, layer=data)

    def error(self, case: RoundingCase) -> None:
        """On ordinary layers the error is at most ``error_bound`` times nearest rounding's.

        The error is that of outputs where the plugin knows the inputs, else that of the weight.
        """
        ours, nearest = (self._error(case, own) for own in (self.rounded(case), _nearest(case)))
        bound = self.plugin.error_bound
        expect(
            ours <= bound * nearest,
            f"the squared error is {ours / nearest:.3g} times nearest rounding's; error_bound "
            f"allows {bound:g}",
        )

    def device(self, device: torch.device) -> None:
        """Results are on the device of the weight."""
        result = self._round(cases(quick=True)[-1], device=device)
        for name in ("integers", "scale", "zero"):
            expect_device(name, getattr(result, name), device)

    def model(self, _: str) -> None:
        """In a model it costs what its format says, and removal restores the model."""
        check_in_a_model(rounding=self.plugin)

    def _round(self, case: RoundingCase, device: torch.device | str = "cpu") -> QuantizedWeight:
        weight = case.layer.weight.to(device, copy=True)
        with torch.no_grad():
            return self.plugin.round(weight, self._data(case, device), case.fmt, case.bits)

    def _data(self, case: RoundingCase, device: torch.device | str = "cpu") -> LayerData:
        return case.layer.data(self.plugin.needs_inputs, case.fmt, case.bits, device=device)

    def _error(self, case: RoundingCase, result: QuantizedWeight) -> float:
        difference = (result.dequantize() - case.layer.weight).double()
        if self.plugin.needs_inputs:
            difference = case.layer.inputs.double() @ difference.T
        return float(difference.square().sum())


def _stored(result: QuantizedWeight) -> torch.Tensor:
    columns = result.integers.shape[1] // result.scale.shape[1]
    scale, zero = (part.repeat_interleave(columns, 1) for part in (result.scale, result.zero))
    return scale * (result.integers - zero)


def _nearest(case: RoundingCase) -> QuantizedWeight:
    return quantize_weight(case.layer.weight, case.fmt, case.bits, str(case))
