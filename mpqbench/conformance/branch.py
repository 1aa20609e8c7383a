"""Checks of branches."""

import torch
from torch import nn

from ..contracts import Branch, BranchSize, FittedBranch
from ..quant.branch import BITS, operand, squared_error
from .check import Check, checks_of, expect, expect_close, expect_gradient, expect_tensor
from .counting import expect_macs, held_tensors, information_bits, macs_per_row
from .layer_checks import LayerChecks, Tensors
from .layers import SampleLayer, hostile, ordinary_layers
from .models import WHERE

SAME_AT = {16: 1e-5, 8: 0.02}  # at 8 bits what passes between the products is rounded too


def checks(plugin: Branch, quick: bool) -> list[Check]:
    """Return all checks of a branch, on the layers to which the plugin gives one."""
    tests = _BranchChecks(plugin)
    layers, extreme = (
        [layer for layer in found if plugin.size(*layer.weight.shape) is not None]
        for found in (ordinary_layers(quick), hostile())
    )
    return [
        *checks_of([*layers, *extreme], tests.size, tests.repeatable),
        *checks_of(layers, tests.output, tests.fit, tests.gradient, tests.cost),
        *checks_of([WHERE], tests.model),
    ]


class _BranchChecks(LayerChecks):
    def tensors(self, made: FittedBranch, weight: torch.Tensor, x: torch.Tensor) -> Tensors:
        return {"dense()": made.dense(), "the output": made(x)}

    def size(self, layer: SampleLayer) -> None:
        """A fitted module has the declared size; ``dense()`` is finite on every layer."""
        size, fitted = self.plugin.size(*layer.weight.shape), self.made(layer)
        fits = isinstance(size, BranchSize) and size.bits in BITS
        expect(fits, f"size gave {size}, not a BranchSize of 8 or 16 bits")
        expect(isinstance(fitted, nn.Module), "the branch is no nn.Module")
        expect(fitted.size == size, f"the branch has {fitted.size}, where size gave {size}")
        expect_tensor("dense()", fitted.dense(), layer.weight.shape)

    def output(self, layer: SampleLayer) -> None:
        """A branch called gives ``x @ dense().T``, leading axes included."""
        fitted = self.made(layer)
        x = operand(layer.inputs[:6].reshape(2, 3, -1), fitted.size.bits)
        with torch.no_grad():
            found, exact = fitted(x.clone()), x @ fitted.dense().T
        expect_tensor("the output", found, exact.shape)
        most = SAME_AT[fitted.size.bits]
        expect_close("the output differs from x @ dense().T", found, exact, most)

    def fit(self, layer: SampleLayer) -> None:
        """A branch is nearer to its target than zero is, and that of zero is zero.

        Distances are output errors where the plugin has ``needs_inputs``.
        """
        moment = layer.data(self.plugin.needs_inputs).moment
        whole = squared_error(layer.weight, moment)
        left = squared_error((layer.weight - self.made(layer).dense()).detach(), moment)
        expect(left < whole, f"the branch leaves an error of {left:.6g} of {whole:.6g}")
        nothing = self.make(SampleLayer("zero", torch.zeros_like(layer.weight), layer.inputs))
        zero = not nothing.dense().any() and not nothing(layer.inputs).any()
        expect(zero, "the branch of a zero target is not zero")

    def gradient(self, layer: SampleLayer) -> None:
        """Gradients reach the input."""
        fitted = self.made(layer)
        expect_gradient(fitted, layer.inputs[:8], fitted.dense().T)

    def cost(self, layer: SampleLayer) -> None:
        """The size covers what the branch executes and holds.

        At most twice the executed operations may be declared. Indices count bit by bit; row indices
        of sparse values may be stored as counts, so that only columns are asked for.
        """
        fitted = self.made(layer)
        size, held = fitted.size, held_tensors(fitted)
        executed = macs_per_row(fitted, layer.inputs, products_only=size.bits == 8)
        expect_macs(size.macs_per_token, executed)
        whole = [tensor for tensor in held if not tensor.is_floating_point()]
        bits = size.bits * sum(tensor.numel() for tensor in held if tensor.is_floating_point())
        bits += sum(information_bits(each[-1] if each.ndim > 1 else each) for each in whole)
        expect(bits <= size.stored_bits, f"the branch holds {bits} bits, not {size.stored_bits}")
