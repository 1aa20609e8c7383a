"""Checks of branches."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from ..contracts import Branch, BranchSize, LayerData
from ..quant.branch import BITS, operand, squared_error
from .check import (
    Check,
    checks_of,
    devices,
    expect,
    expect_close,
    expect_device,
    expect_gradient,
    expect_repeatable,
    expect_tensor,
)
from .counting import information_bits, macs_per_row
from .layers import ORDINARY_SHAPES, SampleLayer, hostile, ordinary
from .models import WHERE, check_in_a_model

SAME_AT = {16: 1e-5, 8: 0.02}  # at 8 bits what passes between the products is rounded too


def checks(plugin: Branch, quick: bool) -> list[Check]:
    """Return all checks of a branch, on the layers to which the plugin gives one."""
    own = _BranchChecks(plugin)
    shapes = ORDINARY_SHAPES[1::2] if quick else ORDINARY_SHAPES
    layers, extreme = (
        [layer for layer in found if plugin.size(*layer.weight.shape) is not None]
        for found in ([ordinary(*shape) for shape in shapes], hostile())
    )
    return [
        *checks_of([*layers, *extreme], own.size, own.finite, own.repeatable),
        *checks_of(layers, own.output, own.fit, own.gradient, own.cost),
        *checks_of(devices() if layers else (), own.device),
        *checks_of([WHERE], own.model),
    ]


class _BranchChecks:
    def __init__(self, plugin: Branch) -> None:
        self.plugin = plugin
        self.fitted = functools.cache(self._fit)

    def size(self, layer: SampleLayer) -> None:
        """``size`` is a BranchSize of 8 or 16 bits, and the fitted branch has that size."""
        size, fitted = self.plugin.size(*layer.weight.shape), self.fitted(layer).size
        fits = isinstance(size, BranchSize) and size.bits in BITS
        expect(fits, f"size gave {size}, not a BranchSize of 8 or 16 bits")
        expect(fitted == size, f"the branch has {fitted}, where size gave {size}")

    def finite(self, layer: SampleLayer) -> None:
        """``dense()`` is a finite float32 matrix of the layer's shape, however hostile."""
        expect_tensor("dense()", self.fitted(layer).dense(), layer.weight.shape)

    def repeatable(self, layer: SampleLayer) -> None:
        """One layer and seed give one branch; arguments and global generators are left alone."""

        def both(target: torch.Tensor, layer: LayerData, x: torch.Tensor) -> list[torch.Tensor]:
            fitted: Any = self.plugin.fit(target, layer)
            return [fitted.dense(), fitted(x)]

        data, x = layer.data(self.plugin.needs_inputs), layer.inputs.clone()
        expect_repeatable("layer.seed", both, target=layer.weight.clone(), layer=data, x=x)

    def output(self, layer: SampleLayer) -> None:
        """A branch called gives ``x @ dense().T``, leading axes included."""
        fitted = self.fitted(layer)
        bits = fitted.size.bits
        x = operand(layer.inputs[:6].reshape(2, 3, -1), bits)
        with torch.no_grad():
            found, exact = fitted(x.clone()), x @ fitted.dense().T
        expect_tensor("the output", found, exact.shape)
        expect_close("the output differs from x @ dense().T", found, exact, SAME_AT[bits])

    def fit(self, layer: SampleLayer) -> None:
        """A branch is nearer to its target than zero is, and that of zero is zero.

        Distances are output errors where the plugin has ``needs_inputs``.
        """
        left, whole = (
            self._error(layer, layer.weight - near)
            for near in (self.fitted(layer).dense(), torch.zeros_like(layer.weight))
        )
        expect(left < whole, f"the branch leaves an error of {left:.6g} of {whole:.6g}")
        nothing = self._fit(SampleLayer("zero", torch.zeros_like(layer.weight), layer.inputs))
        zero = not nothing.dense().any() and not nothing(layer.inputs).any()
        expect(zero, "the branch of a zero target is not zero")

    def gradient(self, layer: SampleLayer) -> None:
        """Gradients reach the input."""
        fitted = self.fitted(layer)
        expect_gradient(fitted, layer.inputs[:8], fitted.dense().T)

    def cost(self, layer: SampleLayer) -> None:
        """The size covers what the branch executes and holds.

        At most twice the executed operations may be declared. Indices count bit by bit; row indices
        of sparse values may be stored as counts, so that only columns are asked for.
        """
        fitted = self.fitted(layer)
        size = fitted.size
        executed = macs_per_row(fitted, layer.inputs, products_only=size.bits == 8)
        expect(
            executed <= size.macs_per_token <= 2 * executed,
            f"macs_per_token is {size.macs_per_token}, but the branch executes {executed:g} a row",
        )
        tensors = [*fitted.parameters(), *fitted.buffers()]
        floats = sum(own.numel() for own in tensors if own.is_floating_point())
        whole = [own for own in tensors if not own.is_floating_point()]
        indices = sum(information_bits(own[-1] if own.ndim > 1 else own) for own in whole)
        expect(
            floats <= size.numbers and indices <= size.extra_bits,
            f"the branch holds {floats} numbers and indices of {indices} bits and declares "
            f"{size.numbers} and {size.extra_bits}",
        )

    def device(self, device: torch.device) -> None:
        """A branch is a module on the device of its layer."""
        shapes = (shape for shape in ORDINARY_SHAPES if self.plugin.size(*shape) is not None)
        layer = ordinary(*next(shapes))
        fitted = self._fit(layer, device)
        expect(isinstance(fitted, nn.Module), "the branch is no nn.Module")
        expect_device("the output", fitted(layer.inputs.to(device)), device)

    def model(self, _: str) -> None:
        """In a model it costs what it declares, and removal restores the model."""
        check_in_a_model(branch=self.plugin)

    def _error(self, layer: SampleLayer, rest: torch.Tensor) -> float:
        return squared_error(rest.detach(), layer.data(self.plugin.needs_inputs).moment)

    def _fit(self, layer: SampleLayer, device: torch.device | str = "cpu") -> Any:
        data = layer.data(self.plugin.needs_inputs, device=device)
        with torch.no_grad():
            return self.plugin.fit(layer.weight.to(device, copy=True), data)
