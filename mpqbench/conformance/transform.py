"""Checks of transforms."""

from __future__ import annotations

import functools

import torch
from torch import nn

from ..contracts import FittedTransform, LayerData, Transform
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
from .counting import information_bits, macs_per_row, read_tensors
from .layers import ORDINARY_SHAPES, SampleLayer, hostile, ordinary
from .models import WHERE, check_in_a_model


def checks(plugin: Transform, quick: bool) -> list[Check]:
    """Return all checks of a transform."""
    own = _TransformChecks(plugin)
    layers = [ordinary(*shape) for shape in (ORDINARY_SHAPES[1::2] if quick else ORDINARY_SHAPES)]
    return [
        *checks_of(layers, own.output, own.gradient, own.cost),
        *checks_of([*layers, *hostile()], own.shapes, own.repeatable),
        *checks_of(devices(), own.device),
        *checks_of([WHERE], own.model),
    ]


class _TransformChecks:
    def __init__(self, plugin: Transform) -> None:
        self.plugin = plugin
        self.fitted = functools.cache(self._fit)

    def output(self, layer: SampleLayer) -> None:
        """``input(x) @ weight(W).T`` is ``x @ W.T`` for every layer that shares the transform."""
        parts = [layer.weight * factor for factor in (1.0, -3.0, 0.1)]
        stack = SampleLayer("three stacked", torch.cat(parts), layer.inputs)
        for fitted in (self.fitted(layer), self._fit(stack)):
            for weight in (stack.weight, *parts):
                x, moved = fitted.input(layer.inputs.clone()), fitted.weight(weight.clone())
                expect_close(
                    "input(x) @ weight(W).T differs from x @ W.T",
                    x.double() @ moved.double().T,
                    layer.inputs.double() @ weight.double().T,
                )

    def gradient(self, layer: SampleLayer) -> None:
        """Gradients flow through ``input`` as through a linear map."""
        call = self.fitted(layer).input
        expect_gradient(call, layer.inputs[:64], call(torch.eye(layer.width)))

    def cost(self, layer: SampleLayer) -> None:
        """``macs_per_token`` and ``extra_bits`` cover what ``input`` executes and reads.

        At most twice the executed operations may be declared. Numbers take 16 bits and signs 1;
        tensors that are equal for another weight, other inputs and another seed are constants of
        the width and count nothing.
        """
        fitted = self.fitted(layer)
        declared, executed = fitted.macs_per_token, macs_per_row(fitted.input, layer.inputs)
        expect(
            isinstance(declared, int) and executed <= declared <= 2 * executed,
            f"macs_per_token is {declared}, but input executes {executed:g} a row",
        )
        bits = sum(map(information_bits, self._own_tensors(layer)))
        expect(
            isinstance(fitted.extra_bits, int) and fitted.extra_bits >= bits,
            f"extra_bits is {fitted.extra_bits}, but input reads tensors that take {bits} bits",
        )

    def shapes(self, layer: SampleLayer) -> None:
        """Weight and input keep shape and type, leading axes included, and stay finite."""
        fitted, weight, x = self.fitted(layer), layer.weight, layer.inputs
        several = x[:6].reshape(2, 3, -1)
        expect_tensor("weight(...)", fitted.weight(weight.clone()), weight.shape)
        expect_tensor("input(...)", fitted.input(x.clone()), x.shape)
        expect_tensor("input(...)", fitted.input(several), several.shape)

    def repeatable(self, layer: SampleLayer) -> None:
        """One layer and seed give one basis; arguments and global generators are left alone."""

        def both(weight: torch.Tensor, layer: LayerData, x: torch.Tensor) -> list[torch.Tensor]:
            fitted = self.plugin.fit(weight, layer)
            return [fitted.weight(weight), fitted.input(x)]

        data, x = layer.data(self.plugin.needs_inputs), layer.inputs.clone()
        expect_repeatable("layer.seed", both, weight=layer.weight.clone(), layer=data, x=x)

    def device(self, device: torch.device) -> None:
        """Results are on the layer's device, and the tensors of ``input`` move with the model."""
        layer = ordinary(*ORDINARY_SHAPES[1])
        fitted = self._fit(layer, device)
        expect_device("weight(...)", fitted.weight(layer.weight.to(device)), device)
        expect_device("input(...)", fitted.input(layer.inputs.to(device)), device)
        module = self.fitted(layer)
        tensors = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
        registered = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        for tensor in self._own_tensors(layer):
            expect(
                tensor.untyped_storage().data_ptr() in registered,
                f"input reads a tensor {tuple(tensor.shape)} that is no buffer of an nn.Module: it "
                "would not move with the model to another device",
            )

    def model(self, _: str) -> None:
        """In a model it costs what it declares, and removal restores the model."""
        check_in_a_model(transform=self.plugin)

    def _fit(
        self, layer: SampleLayer, device: torch.device | str = "cpu", seed: int = 7
    ) -> FittedTransform:
        weight = layer.weight.to(device, copy=True)
        data = layer.data(self.plugin.needs_inputs, seed=seed, device=device)
        with torch.no_grad():
            return self.plugin.fit(weight, data)

    def _own_tensors(self, layer: SampleLayer) -> list[torch.Tensor]:
        """Return what ``input`` reads, without the constants that all layers share."""
        other = ordinary(*layer.weight.shape, seed=5)
        constants = read_tensors(self._fit(other, seed=8).input, layer.inputs)
        return [
            tensor
            for tensor in read_tensors(self.fitted(layer).input, layer.inputs)
            if not any(torch.equal(tensor, constant) for constant in constants)
        ]
