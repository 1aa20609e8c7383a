"""The quantized forms of one group: rounded once for every precision, ready to be exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..errors import Diverged
from ..formats import WeightFormat
from ..models.groups import Group, linear_layer
from ..precision import Precision
from ..quant.build import Builder
from ..quant.linear import QuantizedInput

Rounded = tuple[torch.Tensor, torch.Tensor]  # a weight in its basis, before and after rounding


class Cell:
    """The layers of ``group`` side by side, in full precision and at any precision.

    Weights are rounded when they are first asked for, and once for all activation bits where the
    change of basis does not depend on them. A rounding of whole blocks is asked for single layers.
    """

    def __init__(self, model: Any, group: Group, build: Builder) -> None:
        self.model, self.group, self.build = model, group, build
        self.name = group.name
        layers = [linear_layer(model, path) for path in group.layers]
        self.weight = torch.cat([layer.weight.detach() for layer in layers])
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        self._forms: dict[Precision, Form] = {}
        self._rounded: dict[tuple[int | None, WeightFormat], list[Rounded]] = {}

    def full(self, x: torch.Tensor) -> torch.Tensor:
        """The layers as they are: input (n, tokens, in) to output (n, tokens, out of all)."""
        return F.linear(x, self.weight, self.bias)

    def at(self, precision: Precision) -> Form:
        """The layers at ``precision``. Raises as ``quantize_model`` does."""
        if precision not in self._forms:
            with torch.no_grad():
                self._forms[precision] = self._form(precision)
        return self._forms[precision]

    def _form(self, precision: Precision) -> Form:
        prepared = self.build.prepare(self.model, self.group, precision)
        basis = torch.cat([layer.weight for layer in prepared])
        fmt = prepared[0].data.weight_format
        rounded = self._rounded.setdefault((precision.weight, fmt), [])
        for known, weight in rounded:
            if torch.equal(known, basis):
                return Form(prepared[0].source, weight, known, self.bias)  # one copy for all
        weight = basis
        if precision.weight is not None:
            rounding = self.build.rounding
            weight = torch.cat(
                [
                    rounding.round(layer.weight, layer.data, fmt, precision.weight).dequantize()
                    for layer in prepared
                ]
            )
        if not torch.isfinite(weight).all():
            raise Diverged(f"group {self.group.name}: its weight at {precision} is not finite")
        weight = weight.to(self.weight.dtype)
        rounded.append((basis, weight))
        return Form(prepared[0].source, weight, basis, self.bias)


class Form:
    """A group at one precision: ``weight`` is rounded, ``basis`` the same weight before rounding.

    Both (out, in) in the basis of ``source``, which quantizes the input.
    """

    def __init__(
        self,
        source: QuantizedInput,
        weight: torch.Tensor,
        basis: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> None:
        # A state is never the input of three layers here, so nothing is shared between readers.
        self.source = QuantizedInput(source.transform, source.activation)
        self.weight, self.basis, self.bias = weight, basis, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Input (n, tokens, in) to output (n, tokens, out of all)."""
        return F.linear(self.source(x).to(self.weight.dtype), self.weight, self.bias)


def cells_of(model: Any, groups: Sequence[Group], build: Builder) -> Mapping[str, Cell]:
    """A cell for every searchable group, in network order."""
    return {group.name: Cell(model, group, build) for group in groups if group.searchable}
