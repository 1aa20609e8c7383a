"""The quantized forms of one group: rounded once for every precision, ready to be exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ..contracts import FittedBranch
from ..core.errors import Diverged
from ..core.formats import WeightFormat
from ..core.precision import Precision
from ..dit.groups import Group, linear_layer
from ..quant.branch import applied
from ..quant.build import GroupQuantizer, Prepared
from ..quant.linear import QuantizedInput


@dataclass(frozen=True)
class Weights:
    """The layers of a group side by side, (out, in) each.

    ``moved`` is the weight in its basis, ``basis`` the same less its branches, ``rounded`` that on
    its grid. ``branches`` stand with the number of their layer's first output.
    """

    moved: torch.Tensor
    basis: torch.Tensor
    rounded: torch.Tensor
    branches: Sequence[tuple[int, FittedBranch]] = ()


class Cell:
    """The layers of ``group`` side by side, in full precision and at any precision.

    Weights are rounded when they are first asked for, and once for all activation bits where the
    change of basis does not depend on them. A rounding of whole blocks is asked for single layers.
    Branches are part of what is rounded once.
    """

    def __init__(self, model: Any, group: Group, build: GroupQuantizer) -> None:
        self.model, self.group, self.build = model, group, build
        self.name = group.name
        layers = [linear_layer(model, path) for path in group.layers]
        self.weight = torch.cat([layer.weight.detach() for layer in layers])
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        self._forms: dict[Precision, QuantizedGroup] = {}
        self._rounded: dict[tuple[int | None, bool, WeightFormat], list[Weights]] = {}

    def full(self, x: torch.Tensor) -> torch.Tensor:
        """The layers as they are: input (n, tokens, in) to output (n, tokens, out of all)."""
        return F.linear(x, self.weight, self.bias)

    def at(self, precision: Precision) -> QuantizedGroup:
        """The layers at ``precision``. Raises as ``quantize_model`` does."""
        if precision not in self._forms:
            with torch.no_grad():
                self._forms[precision] = self._form(precision)
        return self._forms[precision]

    def _form(self, precision: Precision) -> QuantizedGroup:
        prepared = self.build.prepare(self.model, self.group, precision)
        moved = torch.cat([layer.weight for layer in prepared])
        key = (precision.weight, precision.branched, prepared[0].data.weight_format)
        known = self._rounded.setdefault(key, [])
        for weights in known:
            if torch.equal(weights.moved, moved):
                return QuantizedGroup(prepared[0].source, weights, self.bias)  # one copy for all
        weights = self._weights(prepared, moved, precision)
        known.append(weights)
        return QuantizedGroup(prepared[0].source, weights, self.bias)

    def _weights(
        self, prepared: Sequence[Prepared], moved: torch.Tensor, precision: Precision
    ) -> Weights:
        parts: list[torch.Tensor] = []
        bases: list[torch.Tensor] = []
        branches: list[tuple[int, FittedBranch]] = []
        for layer in prepared:
            part = basis = layer.weight
            if precision.weight is not None:
                rounded = self.build.rounded(layer)
                part = rounded.weight.dequantize()
                if rounded.branch is not None:
                    branches.append((sum(len(own) for own in parts), rounded.branch))
                    basis = basis - rounded.branch.dense()
            parts.append(part)
            bases.append(basis)
        weight = torch.cat(parts)
        if not torch.isfinite(weight).all():
            raise Diverged(f"group {self.group.name}: its weight at {precision} is not finite")
        basis = torch.cat(bases) if branches else moved
        return Weights(moved, basis, weight.to(self.weight.dtype), branches)


class QuantizedGroup:
    """A group at one precision: ``weight`` is rounded, ``basis`` the same weight before rounding.

    Both (out, in) in the basis of ``source``, which quantizes the input. With branches, ``basis``
    is less what they hold.
    """

    def __init__(self, source: QuantizedInput, weights: Weights, bias: torch.Tensor | None) -> None:
        # A state is never the input of three layers here, so nothing is shared between readers.
        self.source = QuantizedInput(source.transform, source.activation)
        self.weight, self.unrounded_weight, self.bias = (
            weights.rounded,
            weights.basis,
            bias,
        )
        self._branches = weights.branches

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Input (n, tokens, in) to output (n, tokens, out of all)."""
        quantized, moved = self.source.pair(x)
        output = F.linear(quantized.to(self.weight.dtype), self.weight, self.bias)
        return output + self.branch_output(moved).to(output) if self._branches else output

    def branch_output(self, moved: torch.Tensor) -> torch.Tensor:
        """What the branches make of the moved input (..., in): (..., out of all)."""
        given = moved.new_zeros(*moved.shape[:-1], len(self.weight))
        for first, branch in self._branches:
            part = applied(branch, moved)
            given[..., first : first + part.shape[-1]] = part
        return given


def cells_of(model: Any, groups: Sequence[Group], build: GroupQuantizer) -> Mapping[str, Cell]:
    """A cell for every searchable group, in network order."""
    return {group.name: Cell(model, group, build) for group in groups if group.searchable}
