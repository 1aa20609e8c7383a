"""Checks of transforms."""

from dataclasses import replace

import torch

from ..contracts import FittedTransform, Transform
from ..core.formats import ActivationFormat
from ..core.precision import Precision
from ..quant.counting import held_tensors, information_bits
from ..quant.verify import expect, expect_tensor, expect_transform
from .check import Check, checks_of, expect_close, expect_gradient
from .layer_checks import LayerChecks, Tensors
from .layers import SampleLayer, hostile, ordinary, ordinary_layers
from .models import WHERE


def checks(plugin: Transform, quick: bool) -> list[Check]:
    """Return all checks of a transform."""
    tests, layers = _TransformChecks(plugin), ordinary_layers(quick)
    return [
        *checks_of(layers, tests.output, tests.gradient, tests.cost, tests.activation_bits),
        *checks_of([*layers, *hostile()], tests.shapes, tests.repeatable),
        *checks_of([WHERE], tests.model),
    ]


class _TransformChecks(LayerChecks):
    def tensors(self, made: FittedTransform, weight: torch.Tensor, x: torch.Tensor) -> Tensors:
        return {"weight(...)": made.weight(weight), "input(...)": made.input(x)}

    def output(self, layer: SampleLayer) -> None:
        """``input(x) @ weight(W).T`` is ``x @ W.T`` for every layer that shares the transform."""
        parts = [layer.weight * factor for factor in (1.0, -3.0, 0.1)]
        stack = SampleLayer("three stacked", torch.cat(parts), layer.inputs)
        for fitted in (self.made(layer), self.make(stack)):
            for weight in (stack.weight, *parts):
                x, moved = fitted.input(layer.inputs.clone()), fitted.weight(weight.clone())
                expect_close(
                    "input(x) @ weight(W).T differs from x @ W.T",
                    x.double() @ moved.double().T,
                    layer.inputs.double() @ weight.double().T,
                )

    def gradient(self, layer: SampleLayer) -> None:
        """Gradients flow through ``input`` as through a linear map."""
        call = self.made(layer).input
        expect_gradient(call, layer.inputs[:64], call(torch.eye(layer.weight.shape[1])))

    def cost(self, layer: SampleLayer) -> None:
        """The size covers what is executed and held.

        At most twice the executed operations may be declared. Numbers take 16 bits and signs 1;
        tensors that are equal for another weight, other inputs and another seed are constants of
        the width and count nothing.
        """
        fitted, width = self.made(layer), layer.weight.shape[1]
        size = self.plugin.size(layer.data(False).name, width)
        expect_transform(fitted, size, layer.inputs)
        constants = held_tensors(self.make(ordinary(*layer.weight.shape, seed=5), seed=8))
        bits = sum(
            information_bits(tensor)
            for tensor in held_tensors(fitted)
            if not any(torch.equal(tensor, constant) for constant in constants)
        )
        expect(
            isinstance(size.extra_bits, int) and size.extra_bits >= bits,
            f"extra_bits is {size.extra_bits}, but the transform holds {bits} bits",
        )

    def activation_bits(self, layer: SampleLayer) -> None:
        """Without ``needs_activation_bits``, a fit is the same for other bits of the input."""
        if self.plugin.needs_activation_bits:
            return
        data, weight, x = layer.data(self.plugin.needs_inputs), layer.weight, layer.inputs
        static = ActivationFormat(granularity="tensor")
        for bits in (3, None):
            precision = Precision(layer.bits, bits)
            other = replace(data, precision=precision, activation_format=static)
            with torch.no_grad():
                fitted = self.call(weight.clone(), other)
            usual = self.tensors(self.made(layer), weight, x)
            for name, found in self.tensors(fitted, weight, x).items():
                expect(
                    torch.equal(found, usual[name]),
                    f"{name} differs for inputs at other bits: needs_activation_bits must be true",
                )

    def shapes(self, layer: SampleLayer) -> None:
        """Weight and input keep shape and type, leading axes included, and stay finite."""
        for x in (layer.inputs, layer.inputs[:6].reshape(2, 3, -1)):
            found = self.tensors(self.made(layer), layer.weight.clone(), x.clone())
            for (name, tensor), before in zip(found.items(), (layer.weight, x), strict=True):
                expect_tensor(name, tensor, before.shape)
