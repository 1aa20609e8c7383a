"""The groups that a search chooses precisions for, each rounded once for every precision."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from ..contracts import FittedTransform
from ..core.precision import Precision
from ..dit.groups import Group, linear_layer
from ..dit.products import MOST_BYTES, Product
from ..quant.build import GroupQuantizer
from ..quant.group import PreparedGroup, QuantizedGroup, RoundedLayer

Rounded = Mapping[str, RoundedLayer]


class SearchableGroup:
    """The layers of ``group`` side by side, in full precision and at any precision.

    A ``contracts.QuantizableGroup``. Weights are rounded when a precision is first asked for, with
    their branches. The change of basis is fitted, and weights are rounded, once for all activation
    bits where the basis does not depend on them. A rounding of whole blocks is asked for single
    layers: a candidate's block is never whole.
    """

    def __init__(self, model: Any, group: Group, quantizer: GroupQuantizer) -> None:
        self.model, self.group, self.quantizer = model, group, quantizer
        self.name = group.name
        layers = [linear_layer(model, path) for path in group.layers]
        self.weight = torch.cat([layer.weight.detach() for layer in layers])
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        self._product = Product(self.weight, self.bias)
        self._made: dict[Precision, QuantizedGroup] = {}
        self._products: dict[int, Product] = {}
        self._fitted: dict[tuple[Any, ...], FittedTransform] = {}
        # By weight bits, branch and format: the weights that were rounded, and the result.
        self._known: dict[tuple[Any, ...], list[tuple[torch.Tensor, Rounded]]] = {}

    def full(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layers as they are: input (n, tokens, in) to output (n, tokens, out)."""
        return self._product(x)

    def at(self, precision: Precision) -> QuantizedGroup:
        """Return the layers at ``precision``. Raises as ``GroupQuantizer.quantize``."""
        if precision not in self._made:
            with torch.no_grad():
                key = self._decides_basis(precision)
                fitted = self._fitted.get(key)
                prepared = self.quantizer.prepare(self.model, self.group, precision, fitted)
                self._fitted[key] = prepared.transform
                rounded = self._rounded(prepared)
                made = QuantizedGroup(prepared, rounded)
                made.product = self._product_of(rounded, made)
                self._made[precision] = made
        return self._made[precision]

    def _decides_basis(self, precision: Precision) -> tuple[Any, ...]:
        """Return what of a precision the change of basis depends on."""
        if self.quantizer.transform.needs_activation_bits:
            return (precision,)
        formats = self.quantizer.weight_format, self.quantizer.activation_format
        return precision.weight, precision.formats(*formats)[0]

    def _product_of(self, rounded: Rounded, made: QuantizedGroup) -> Product | None:
        """Return the product that all groups of ``rounded`` share; ``None`` for large weights."""
        if sum(layer.values.nbytes for layer in rounded.values()) > MOST_BYTES:
            return None
        key = id(rounded)  # which is in ``_known``
        if key not in self._products:
            self._products[key] = Product(made.weight, made.bias)
        return self._products[key]

    def _rounded(self, prepared: PreparedGroup) -> Rounded:
        """Round the layers of ``prepared``, or take the result for the same weights."""
        layers, precision = list(prepared.layers.values()), prepared.precision
        moved = torch.cat([layer.weight for layer in layers])
        key = (precision.weight, precision.branched, layers[0].data.weight_format)
        known = self._known.setdefault(key, [])
        for weight, rounded in known:
            if torch.equal(weight, moved):
                return rounded
        found = self.quantizer.round(prepared)
        # Candidates are never stored: without their integers they take a third less memory.
        without = {path: replace(layer, integers=None) for path, layer in found.items()}
        known.append((moved, without))
        return without
