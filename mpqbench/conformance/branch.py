"""Checks of branches."""

import torch

from ..contracts import Branch, FittedBranch
from ..quant.branch import operand, squared_error
from ..quant.verify import expect, expect_branch, expect_branch_size, expect_tensor
from .check import Check, checks_of, expect_close, expect_gradient
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
        expect_branch_size(fitted, size)
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
        """The size covers what the branch executes and holds."""
        size = self.plugin.size(*layer.weight.shape)
        expect_branch(self.made(layer), size, layer.inputs)
