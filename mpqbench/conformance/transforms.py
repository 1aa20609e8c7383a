"""What every transform promises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..contracts import FittedTransform, LayerData, Transform
from .check import Check, attempt, check_of, devices, expect, own_generators_only, unmodified
from .counting import information_bits, macs_per_row, read_tensors
from .layers import ORDINARY_SHAPES, SampleLayer, hostile, ordinary
from .models import check_in_a_model

SAME = 1e-5


class TransformChecks:
    """The checks of one transform; fits are shared between them."""

    def __init__(self, plugin: Transform, quick: bool) -> None:
        self.plugin = plugin
        self.needs_inputs = plugin.needs_inputs
        shapes = ORDINARY_SHAPES[1::2] if quick else ORDINARY_SHAPES
        self.ordinary = [ordinary(*shape) for shape in shapes]
        self._fits: dict[SampleLayer, FittedTransform] = {}

    def all(self) -> list[Check]:
        """All checks."""
        methods = [self.output, self.shapes, self.finite, self.linear, self.stacked, self.gradient]
        methods += [self.deterministic, self.arguments, self.macs, self.extra_bits, self.device]
        return [check_of(method) for method in (*methods, self.model)]

    def output(self) -> None:
        """``input(x) @ weight(W).T`` is ``x @ W.T``."""
        for layer in self.ordinary:
            _expect_output(layer, self._fit(layer), layer.weight)

    def shapes(self) -> None:
        """Weight and input keep their shapes, leading axes included, and stay float32."""
        for layer in (*self.ordinary, *hostile()):
            fitted = self._fit(layer)
            rows = layer.inputs[:6]
            for name, call, given in (
                ("weight", fitted.weight, layer.weight),
                ("input", fitted.input, rows),
                ("input", fitted.input, rows.reshape(2, 3, -1)),
            ):
                found = _call(layer, name, call, given)
                expect(
                    found.shape == given.shape and found.dtype == torch.float32,
                    f"{layer}: {name} gave {found.dtype} {tuple(found.shape)} for "
                    f"torch.float32 {tuple(given.shape)}",
                )

    def finite(self) -> None:
        """Finite weights and inputs stay finite, however hostile."""
        for layer in (*self.ordinary, *hostile()):
            fitted = self._fit(layer)
            for name, call, given in (
                ("weight", fitted.weight, layer.weight),
                ("input", fitted.input, layer.inputs),
            ):
                bad = (~_call(layer, name, call, given).isfinite()).sum()
                expect(bad == 0, f"{layer}: {bad} numbers of {name}(...) are not finite")

    def linear(self) -> None:
        """``input(a x + b y)`` is ``a input(x) + b input(y)``."""
        for layer in self.ordinary:
            call = self._fit(layer).input
            x, y = layer.inputs.chunk(2)
            combined = _call(layer, "input", call, 2 * x - 3 * y)
            apart = 2 * _call(layer, "input", call, x) - 3 * _call(layer, "input", call, y)
            far = _distance(apart, combined)
            expect(
                far <= SAME,
                f"{layer}: input(2x - 3y) differs from 2 input(x) - 3 input(y) by {far:.2g} of its "
                "size; it must be linear",
            )

    def stacked(self) -> None:
        """Fitted to stacked layers, it leaves the output of each of them as it was."""
        for layer in self.ordinary:
            parts = [layer.weight * factor for factor in (1.0, -3.0, 0.1)]
            stack = SampleLayer("three stacked", torch.cat(parts), layer.inputs)
            fitted = self._fit(stack)
            rows = fitted.weight(stack.weight.clone()).chunk(3)
            for part, row in zip(parts, rows, strict=True):
                _expect_output(stack, fitted, part)
                far = _distance(fitted.weight(part.clone()), row)
                expect(
                    far <= SAME,
                    f"{stack}: weight(...) of one part differs by {far:.2g} from its rows in "
                    "weight(...) of the stack; rows must not depend on each other",
                )

    def gradient(self) -> None:
        """Gradients flow through ``input`` as through the linear map it is."""
        for layer in self.ordinary:
            fitted = self._fit(layer)
            first, direction, upstream = layer.inputs.split(64)[:3]
            x = first.clone().requires_grad_()
            output = fitted.input(x)
            expect(
                output.requires_grad,
                f"{layer}: input(x) has no gradient where x does; tuning needs one",
            )
            (gradient,) = torch.autograd.grad(output, x, upstream)
            moved = _call(layer, "input", fitted.input, direction).double()
            forward, backward = (moved * upstream).sum(), (gradient.double() * direction).sum()
            size = moved.norm() * upstream.double().norm()
            expect(
                (forward - backward).abs() <= SAME * size,
                f"{layer}: the gradient of input gives {float(backward):.6g} along a direction "
                f"where the map itself gives {float(forward):.6g}",
            )

    def deterministic(self) -> None:
        """One layer and seed give one basis, and global random generators are left alone."""
        for layer in (*self.ordinary, *hostile()):
            pair = []
            for seed in (1, 2):
                with own_generators_only(layer, seed), torch.no_grad():
                    fitted = self._new_fit(layer)
                    found = fitted.weight(layer.weight.clone()), fitted.input(layer.inputs.clone())
                    pair.append([tensor.nan_to_num() for tensor in found])
            same = all(torch.equal(a, b) for a, b in zip(*pair, strict=True))
            expect(same, f"{layer}: two fits with one layer.seed differ; they must be identical")

    def arguments(self) -> None:
        """Weights, inputs and the layer's data are not written into."""
        for layer in self.ordinary:
            weight, data = layer.weight.clone(), layer.data(self.needs_inputs)
            rows = layer.inputs.clone()
            with unmodified(layer, weight=weight, layer=data, x=rows), torch.no_grad():
                fitted = self._call_fit(layer, weight, data)
                fitted.weight(weight)
                fitted.input(rows)

    def macs(self) -> None:
        """``macs_per_token`` is what ``input`` executes for a row, or at most twice that."""
        for layer in (*self.ordinary, *hostile()):
            fitted = self._fit(layer)
            claimed = fitted.macs_per_token
            executed = macs_per_row(fitted.input, layer.inputs)
            expect(
                isinstance(claimed, int) and executed <= claimed <= 2 * executed,
                f"{layer}: macs_per_token is {claimed}, but input executes {executed:g} a row",
            )

    def extra_bits(self) -> None:
        """``extra_bits`` covers what ``input`` reads besides x: 16 bits a number, 1 a sign.

        Tensors that are the same for another weight, other inputs and another seed are constants
        of the width and count nothing.
        """
        for layer in self.ordinary:
            fitted = self._fit(layer)
            bits = sum(map(information_bits, self._own_tensors(layer)))
            expect(
                isinstance(fitted.extra_bits, int) and fitted.extra_bits >= bits,
                f"{layer}: extra_bits is {fitted.extra_bits}, but input reads tensors that take "
                f"{bits} bits",
            )

    def device(self) -> None:
        """Results are on the device of the layer, and the tensors of ``input`` move with it."""
        layer = self.ordinary[0]
        for device in devices():
            fitted = self._new_fit(layer, device)
            for name, call, given in (
                ("weight", fitted.weight, layer.weight),
                ("input", fitted.input, layer.inputs),
            ):
                found = call(given.to(device)).device
                expect(
                    found.type == device.type,
                    f"{layer}: {name}(...) is on {found}, its argument on {device}",
                )
        registered = _storages(self._fit(layer))
        for tensor in self._own_tensors(layer):
            expect(
                tensor.untyped_storage().data_ptr() in registered,
                f"{layer}: input reads a tensor {tuple(tensor.shape)} that is no buffer of an "
                "nn.Module: it would stay behind when the model moves to another device",
            )

    def model(self) -> None:
        """In a model it costs what it says, and removal leaves no trace."""
        check_in_a_model(transform=self.plugin)

    def _fit(self, layer: SampleLayer) -> FittedTransform:
        if layer not in self._fits:
            self._fits[layer] = self._new_fit(layer)
        return self._fits[layer]

    def _new_fit(
        self, layer: SampleLayer, device: torch.device | str = "cpu", seed: int = 7
    ) -> FittedTransform:
        weight = layer.weight.to(device, copy=True)
        data = layer.data(self.needs_inputs, seed=seed, device=device)
        return self._call_fit(layer, weight, data)

    def _call_fit(
        self, layer: SampleLayer, weight: torch.Tensor, data: LayerData
    ) -> FittedTransform:
        with torch.no_grad():
            return attempt(layer, "fit", lambda: self.plugin.fit(weight, data))

    def _own_tensors(self, layer: SampleLayer) -> list[torch.Tensor]:
        """What ``input`` reads, without the constants that any other layer shares."""
        other = ordinary(*layer.weight.shape, seed=5)
        constants = read_tensors(self._new_fit(other, seed=8).input, layer.inputs)
        return [
            tensor
            for tensor in read_tensors(self._fit(layer).input, layer.inputs)
            if not any(torch.equal(tensor, constant) for constant in constants)
        ]


def _expect_output(layer: SampleLayer, fitted: FittedTransform, weight: torch.Tensor) -> None:
    with torch.no_grad():
        moved, x = fitted.weight(weight.clone()), fitted.input(layer.inputs.clone())
    far = _distance(x.double() @ moved.double().T, layer.inputs.double() @ weight.double().T)
    expect(
        far <= SAME,
        f"{layer}: input(x) @ weight(W).T differs from x @ W.T by {far:.2g} of its size, more than "
        f"{SAME:g}",
    )


def _call(
    layer: SampleLayer,
    name: str,
    call: Callable[[torch.Tensor], torch.Tensor],
    given: torch.Tensor,
) -> torch.Tensor:
    with torch.no_grad():
        return attempt(layer, name, lambda: call(given.clone()))


def _distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def _storages(fitted: FittedTransform) -> set[int]:
    """Addresses of what moves with the model."""
    if not isinstance(fitted, nn.Module):
        return set()
    tensors = [*fitted.parameters(), *fitted.buffers()]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}
