"""What every branch promises."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from ..contracts import Branch, BranchSize, LayerData
from ..quant.branch import BITS, operand, squared_error
from .check import Check, attempt, check_of, devices, expect, own_generators_only, unmodified
from .counting import information_bits, macs_per_row
from .layers import ORDINARY_SHAPES, SampleLayer, hostile, ordinary
from .models import check_in_a_model

SAME = 1e-5
SAME_AT_8_BITS = 0.02  # what passes between its products is rounded too


class BranchChecks:
    """The checks of one branch; fits are shared between them.

    Layers to which it gives no branch are left out, so one that gives none keeps all promises.
    """

    def __init__(self, plugin: Branch, quick: bool) -> None:
        self.plugin = plugin
        self.needs_inputs = plugin.needs_inputs
        shapes = ORDINARY_SHAPES[1::2] if quick else ORDINARY_SHAPES
        self.ordinary = self._branched([ordinary(*shape) for shape in shapes])
        self.all_layers = [*self.ordinary, *self._branched(hostile())]
        self._fits: dict[SampleLayer, Any] = {}

    def all(self) -> list[Check]:
        """All checks."""
        methods = [self.sizes, self.output, self.zero, self.nearer, self.refit, self.finite]
        methods += [self.gradient]
        methods += [self.deterministic, self.arguments, self.macs, self.storage, self.device]
        return [check_of(method) for method in (*methods, self.model)]

    def sizes(self) -> None:
        """``size`` is a BranchSize of 8 or 16 bits, and the fitted branch has it."""
        for layer in self.all_layers:
            size = self.plugin.size(*layer.weight.shape)
            expect(
                isinstance(size, BranchSize) and size.bits in BITS,
                f"{layer}: size gave {size}, not a BranchSize of 8 or 16 bits",
            )
            own = getattr(self._fit(layer), "size", None)
            expect(own == size, f"{layer}: the branch has {own}, where size said {size}")

    def output(self) -> None:
        """A branch called gives ``x @ dense().T``, leading axes included, in float32."""
        for layer in self.ordinary:
            fitted, x = self._fit(layer), layer.inputs[:6].reshape(2, 3, -1)
            with torch.no_grad():
                dense = attempt(layer, "dense", fitted.dense)
                expect(
                    dense.shape == layer.weight.shape and dense.dtype == torch.float32,
                    f"{layer}: dense gave {dense.dtype} {tuple(dense.shape)}",
                )
                given = operand(x, fitted.size.bits)
                found = attempt(layer, "the branch", partial(fitted, given.clone()))
            exact = given @ dense.T
            expect(
                found.shape == exact.shape and found.dtype == torch.float32,
                f"{layer}: the branch gave {found.dtype} {tuple(found.shape)} for an input "
                f"{tuple(x.shape)}",
            )
            far = float((found - exact).norm() / exact.norm())
            most = SAME if fitted.size.bits == 16 else SAME_AT_8_BITS
            expect(
                far <= most,
                f"{layer}: the branch differs from x @ dense().T by {far:.2g} of its size, more "
                f"than {most:g}",
            )

    def zero(self) -> None:
        """The branch of zero is zero: it adds nothing where nothing was lost."""
        for layer in self.ordinary:
            nothing = SampleLayer("zero", torch.zeros_like(layer.weight), layer.inputs)
            fitted = self._new_fit(nothing)
            with torch.no_grad():
                expect(not fitted.dense().any(), f"{nothing}: the branch of zero is not zero")
                expect(not fitted(layer.inputs).any(), f"{nothing}: its output is not zero")

    def nearer(self) -> None:
        """It is nearer to its target than zero is: in output error if ``needs_inputs``."""
        for layer in self.ordinary:
            with torch.no_grad():
                rest = layer.weight - self._fit(layer).dense()
            moment = layer.data(self.needs_inputs).moment
            left, whole = squared_error(rest, moment), squared_error(layer.weight, moment)
            expect(
                left < whole,
                f"{layer}: what the branch leaves has error {left:.6g}, the whole weight "
                f"{whole:.6g}",
            )

    def refit(self) -> None:
        """``refit``, if any, of the same target has the same size and is no farther from it.

        The branch of before stays what it was: the harness keeps it where the new one is no better.
        """
        again: Any = getattr(self.plugin, "refit", None)
        for layer in self.ordinary if again else ():
            before, data = self._new_fit(layer), layer.data(self.needs_inputs)
            with torch.no_grad():
                target, dense = layer.weight.clone(), before.dense().clone()
                with unmodified(layer, target=target, layer=data):
                    after = attempt(layer, "refit", partial(again, before, target, data))
                expect(
                    torch.equal(before.dense(), dense),
                    f"{layer}: refit writes into the branch of before; it must give a new one",
                )
                rests = [layer.weight - own for own in (dense, after.dense())]
            expect(
                after.size == before.size,
                f"{layer}: refit gave a branch of {after.size}, fit one of {before.size}",
            )
            first, second = (squared_error(rest, data.moment) for rest in rests)
            expect(
                second <= first * (1 + 1e-4),
                f"{layer}: refit leaves an error of {second:.6g}, fit {first:.6g} of the same "
                "target",
            )

    def finite(self) -> None:
        """Finite layers get finite branches, however hostile."""
        for layer in self.all_layers:
            with torch.no_grad():
                dense = attempt(layer, "dense", self._fit(layer).dense)
            bad = int((~dense.isfinite()).sum())
            expect(bad == 0, f"{layer}: {bad} numbers of dense() are not finite")

    def gradient(self) -> None:
        """Gradients reach the input."""
        for layer in self.ordinary:
            x = layer.inputs[:8].clone().requires_grad_()
            output = self._fit(layer)(x)
            expect(output.requires_grad, f"{layer}: the output has no gradient; tuning needs one")
            (gradient,) = torch.autograd.grad(output.sum(), x)
            with torch.no_grad():
                exact = self._fit(layer).dense().sum(0).expand_as(gradient)
            far = float((gradient - exact).norm() / exact.norm())
            expect(far <= 1e-4, f"{layer}: its gradient differs from dense().T by {far:.2g}")

    def deterministic(self) -> None:
        """One layer and seed give one branch, and global random generators are left alone."""
        for layer in self.all_layers:
            pair = []
            for seed in (1, 2):
                with own_generators_only(layer, seed), torch.no_grad():
                    pair.append(self._new_fit(layer).dense().nan_to_num())
            expect(torch.equal(*pair), f"{layer}: two fits with one layer.seed differ")

    def arguments(self) -> None:
        """Targets, inputs and the layer's data are not written into."""
        for layer in self.ordinary:
            target, data = layer.weight.clone(), layer.data(self.needs_inputs)
            rows = layer.inputs.clone()
            with unmodified(layer, target=target, layer=data, x=rows), torch.no_grad():
                self._call_fit(layer, target, data)(rows)

    def macs(self) -> None:
        """``macs_per_token`` is what its products execute for a row, or at most twice that."""
        for layer in self.ordinary:
            fitted = self._fit(layer)
            claimed = fitted.size.macs_per_token
            executed = macs_per_row(fitted, layer.inputs, products_only=fitted.size.bits == 8)
            expect(
                isinstance(claimed, int) and executed <= claimed <= 2 * executed,
                f"{layer}: macs_per_token is {claimed}, but it executes {executed:g} a row",
            )

    def storage(self) -> None:
        """``numbers`` and ``extra_bits`` cover what it holds: floats, and indices bit by bit."""
        for layer in self.ordinary:
            fitted = self._fit(layer)
            tensors = [*fitted.parameters(), *fitted.buffers()]
            floats = sum(own.numel() for own in tensors if own.is_floating_point())
            whole = [own for own in tensors if not own.is_floating_point()]
            # Row indices of sparse values may be stored as counts: only columns are asked for.
            indices = sum(information_bits(own[-1] if own.ndim > 1 else own) for own in whole)
            size = fitted.size
            expect(
                floats <= size.numbers and indices <= size.extra_bits,
                f"{layer}: it holds {floats} numbers and indices of {indices} bits, and says "
                f"{size.numbers} and {size.extra_bits}",
            )

    def device(self) -> None:
        """It is a module on the device of its layer, and reads nothing but its own tensors."""
        for layer in self.ordinary[:1]:
            for device in devices():
                fitted = self._new_fit(layer, device)
                expect(isinstance(fitted, nn.Module), f"{layer}: its branch is no nn.Module")
                found = fitted(layer.inputs.to(device)).device
                expect(
                    found.type == device.type,
                    f"{layer}: its output is on {found}, its input on {device}",
                )

    def model(self) -> None:
        """In a model it costs what it says, and removal leaves no trace."""
        check_in_a_model(branch=self.plugin)

    def _branched(self, layers: Any) -> list[SampleLayer]:
        return [one for one in layers if self.plugin.size(*one.weight.shape) is not None]

    def _fit(self, layer: SampleLayer) -> Any:
        if layer not in self._fits:
            self._fits[layer] = self._new_fit(layer)
        return self._fits[layer]

    def _new_fit(self, layer: SampleLayer, device: torch.device | str = "cpu") -> Any:
        target = layer.weight.to(device, copy=True)
        return self._call_fit(layer, target, layer.data(self.needs_inputs, device=device))

    def _call_fit(self, layer: SampleLayer, target: torch.Tensor, data: LayerData) -> Any:
        with torch.no_grad():
            return attempt(layer, "fit", lambda: self.plugin.fit(target, data))
