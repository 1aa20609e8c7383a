"""The quantized group: the layers that share one precision and read one input, as one module.

Jobs, the candidates of a search, rollouts, tuners and studies all use ``QuantizedGroup``; only
``build.GroupQuantizer`` makes one.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import FittedBranch, FittedTransform, LayerData, QuantizedWeight, TransformSize
from ..core.precision import Precision
from ..cost.count import Operator
from ..cost.storage import QParamBytes
from ..dit.groups import Group
from ..dit.products import Preparable, Product
from .activation import ActivationQuantizer
from .affine import straight_through
from .branch import applied
from .planned import branch_operator, transform_operators
from .shared import BranchRows

Pair = tuple[torch.Tensor, torch.Tensor]


def float_copy(weight: torch.Tensor) -> torch.Tensor:
    """Return a float32 copy: a plugin that writes into its argument must not reach the model."""
    return weight.detach().to(torch.float32, copy=True)


@dataclass(frozen=True)
class PreparedLayer:
    """A layer before rounding.

    ``weight`` (out, in) and ``data`` are in the basis of the transform, and ``data`` has the
    formats of the precision. ``branched`` says whether the layer gets a branch.
    """

    original: nn.Linear
    weight: torch.Tensor
    data: LayerData
    branched: bool = False

    def owned(self, weight: torch.Tensor) -> torch.Tensor:
        """Copy ``weight`` to the device and type of the layer."""
        like = self.original.weight
        return weight.detach().to(like.device, like.dtype, copy=True)


@dataclass(frozen=True)
class PreparedGroup:
    """A group before rounding: its layers by path, in one basis, and the quantizer of the input."""

    group: Group
    precision: Precision
    transform: FittedTransform
    size: TransformSize
    activation: ActivationQuantizer | None
    layers: Mapping[str, PreparedLayer]


@dataclass(frozen=True)
class RoundedLayer:
    """A layer after rounding.

    ``values`` (out, in) are what the layer multiplies by, on its device and in its type. The layer
    owns the tensor: training a quantized model never writes into the original. ``storage`` is what
    the quantization parameters take; ``integers`` is missing where the weight is not quantized.
    """

    values: torch.Tensor
    storage: QParamBytes
    integers: QuantizedWeight | None = None
    branch: FittedBranch | None = None


class QuantizedInput(nn.Module):
    """Change of basis, then fake quantization of an input (..., in): float32, same shape.

    Gradients pass the quantizer unchanged (straight-through). A transform that is an ``nn.Module``
    moves with the layers.
    """

    def __init__(self, transform: FittedTransform, activation: ActivationQuantizer | None) -> None:
        super().__init__()
        self.transform, self.activation = transform, activation
        self._readers, self._branched = 0, False
        self._seen: torch.Tensor | None = None
        self._value: Pair | None = None
        self._graph = False
        self._waiting: set[int] = set()

    def add_reader(self, branched: bool) -> int:
        """Return the number of a new layer that reads this input through ``shared``.

        ``branched`` says whether the layer also reads the input before quantization.
        """
        self._readers += 1
        self._branched |= branched
        return self._readers - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the quantized input."""
        return self.pair(x)[0]

    def pair(self, x: torch.Tensor) -> Pair:
        """Return the input quantized, and in the new basis before that, as a branch reads it."""
        moved = self.transform.input(x.float())
        if self.activation is None:
            return moved, moved
        if torch.is_grad_enabled():
            return straight_through(self.activation, moved), moved
        # A rotated input is rounded where it stands, unless a branch reads it: memory costs most.
        shared = self._branched or torch.compiler.is_compiling()
        own = not shared and moved.data_ptr() != x.data_ptr()
        return self.activation(moved, in_place=own), moved

    def shared(self, x: torch.Tensor, reader: int) -> Pair:
        """Return ``pair(x)``, computed once for all readers of one input.

        A reader that comes again, or with another tensor, has the pair computed anew, so that no
        reader is given the result of another input.
        """
        if self._readers == 1 or torch.compiler.is_compiling():  # which finds what is the same
            return self.pair(x)
        known = x is self._seen and self._graph == torch.is_grad_enabled()
        if not known or reader not in self._waiting or self._value is None:
            self._seen, self._graph = x, torch.is_grad_enabled()
            self._value, self._waiting = self.pair(x), set(range(self._readers))
        value = self._value
        self._waiting.discard(reader)
        if not self._waiting:
            self._seen = self._value = None  # no other reader will ask: free the memory
        return value


class QuantizedLinear(nn.Module, Preparable):
    """The slice of a group that stands in the model in place of the ``nn.Linear`` ``original``.

    ``weight`` (out, in) holds dequantized values in the basis of the transform. A ``branch`` adds
    what it makes of the input in that basis before quantization. ``source`` and ``branch`` work in
    float32 whatever the type of the weight.
    """

    def __init__(
        self,
        original: nn.Linear,
        rounded: RoundedLayer,
        precision: Precision,
        source: QuantizedInput,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = original.in_features, original.out_features
        self.precision, self.source, self.branch = precision, source, rounded.branch
        self._reader = source.add_reader(rounded.branch is not None)
        bias = None if original.bias is None else original.bias.detach().clone()
        self.weight: torch.Tensor
        self.bias: torch.Tensor | None
        self.register_buffer("weight", rounded.values)
        self.register_buffer("bias", bias)
        self.train(original.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an input (..., in) to the output (..., out) in the type of the weight."""
        return self._apply_to(x, partial(F.linear, weight=self.weight, bias=self.bias))

    def prepared(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the forward of the layer, valid until the layer changes."""
        return partial(self._apply_to, product=Product(self.weight, self.bias))

    def _apply_to(
        self, x: torch.Tensor, product: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        quantized, moved = self.source.shared(x, self._reader)
        output = product(quantized.to(self.weight.dtype))
        return output if self.branch is None else output + applied(self.branch, moved).to(output)

    def extra_repr(self) -> str:
        """Describe widths and precision, for ``print(model)``."""
        return f"{self.in_features}, {self.out_features}, {self.precision}"


class QuantizedGroup(nn.Module):
    """A group at one precision: ``x (..., in) -> source(x) @ weight.T + bias`` plus the branches.

    ``weight`` (out, in), ``bias`` and the output have the layers side by side. ``layers`` are the
    slices by path that stand in a model; they own the tensors and share ``source``, so that the
    input is transformed and quantized once. Each slice multiplies by its own rows: forward, the
    slices of one product over all rows are the same bit for bit, but backward the gradient of the
    input would be summed in another order.

    ``storage`` by path is what quantization parameters take; ``integers`` by path are on the CPU,
    of the layers whose weight is quantized. ``product`` may be the product by ``weight`` and
    ``bias``, made in advance: neither may change then.
    """

    def __init__(self, prepared: PreparedGroup, rounded: Mapping[str, RoundedLayer]) -> None:
        super().__init__()
        self.group, self.precision = prepared.group, prepared.precision
        self.source = QuantizedInput(prepared.transform, prepared.activation)
        self._size = prepared.size
        self.storage = {path: layer.storage for path, layer in rounded.items()}
        self.integers = {  # off the device, whose memory the model needs
            path: QuantizedWeight(q.integers.cpu(), q.scale.cpu(), q.zero.cpu(), q.bits)
            for path, q in ((path, layer.integers) for path, layer in rounded.items())
            if q is not None
        }
        # A tuple, lest the original layers become submodules.
        self._originals = tuple(layer.original for layer in prepared.layers.values())
        self._slices = nn.ModuleList(
            QuantizedLinear(layer.original, rounded[path], self.precision, self.source)
            for path, layer in prepared.layers.items()
        )
        self._count: Callable[[int], None] | None = None
        self.product: Product | None = None

    @property
    def layers(self) -> dict[str, QuantizedLinear]:
        """The slices by path."""
        return dict(zip(self.group.layers, self._slices, strict=True))  # type: ignore[arg-type]

    @property
    def transform(self) -> FittedTransform:
        """The change of basis that all layers share."""
        return self.source.transform

    @property
    def weight(self) -> torch.Tensor:
        """The dequantized weights side by side, in the basis of the transform: (out, in)."""
        parts = [layer.weight for layer in self.layers.values()]
        return torch.cat(parts) if len(parts) > 1 else parts[0].contiguous()

    @property
    def bias(self) -> torch.Tensor | None:
        """The biases side by side, (out,); ``None`` where the layers have none."""
        parts = [layer.bias for layer in self.layers.values() if layer.bias is not None]
        return torch.cat(parts) if parts else None

    @property
    def unrounded_weight(self) -> torch.Tensor:
        """What was rounded: the weight less what the branches hold, (out, in) float32."""
        with torch.no_grad():
            parts = []
            for original, layer in zip(self._originals, self.layers.values(), strict=True):
                weight = self.transform.weight(float_copy(original.weight))
                parts.append(weight if layer.branch is None else weight - layer.branch.dense())
            return torch.cat(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an input (n, tokens, in) to the outputs of all layers, (n, tokens, out)."""
        if self._count is not None:
            self._count(len(x))
        quantized, moved = self.source.pair(x)
        if self.product is not None:
            output = self.product(quantized.to(self.product.weight.dtype))
        else:
            weight = self.weight
            output = F.linear(quantized.to(weight.dtype), weight, self.bias)
        if all(layer.branch is None for layer in self.layers.values()):
            return output
        return output + self.branch_output(moved).to(output)

    def branch_output(self, moved: torch.Tensor) -> torch.Tensor:
        """Apply the branches alone: moved input (..., in) to (..., out), zero without a branch."""
        first, layers = 0, self.layers.values()
        output = moved.new_zeros(*moved.shape[:-1], sum(layer.out_features for layer in layers))
        for layer in layers:
            if layer.branch is not None:
                output[..., first : first + layer.out_features] = applied(layer.branch, moved)
            first += layer.out_features
        return output

    def counted(self, count: Callable[[int], None]) -> Self:
        """Return this group, all tensors shared, that calls ``count(n)`` before each forward."""
        twin = copy.copy(self)
        twin._count = count
        return twin

    def operators(self) -> tuple[Operator, ...]:
        """Return what is executed or stored beside the products: the transform and the branches."""
        operators = transform_operators(self.group, self._size)
        sides = {p: (layer.out_features, layer.in_features) for p, layer in self.layers.items()}
        for path, layer in self.layers.items():
            if isinstance(layer.branch, BranchRows):  # one for all layers: counted once
                whole = sum(out for out, _ in sides.values()), sides[path][1]
                name = self.group.name
                operators.append(branch_operator(name, self.group, layer.branch.size, whole))
                break
            if layer.branch is not None:
                size = layer.branch.size
                operators.append(branch_operator(path, self.group, size, sides[path]))
        return tuple(operators)
