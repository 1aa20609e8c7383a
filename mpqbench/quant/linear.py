"""The module that stands where a quantized ``nn.Linear`` stood, and what it does to its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import FittedBranch, FittedTransform
from ..core.precision import Precision
from .activation import ActivationQuantizer
from .branch import applied

Pair = tuple[torch.Tensor, torch.Tensor]


class QuantizedInput(nn.Module):
    """Change of basis, then fake quantization of an input (..., in): in float32, same shape.

    ``readers`` layers read the same input (``attn.qkv`` has three): the first one to come computes
    and the others are given its result. A reader that comes again, or with another tensor, starts
    anew, so a stale result is never used. Gradients pass the quantizer unchanged
    (straight-through). A transform that is an ``nn.Module`` moves with the layer.
    """

    def __init__(
        self,
        transform: FittedTransform,
        activation: ActivationQuantizer | None,
        readers: int = 1,
    ) -> None:
        super().__init__()
        self.transform, self.activation, self.readers = transform, activation, readers
        self._seen: torch.Tensor | None = None
        self._value: Pair | None = None
        self._graph = False
        self._waiting: set[int] = set()

    def forward(self, x: torch.Tensor, reader: int = 0) -> torch.Tensor:
        """The input of layer number ``reader``."""
        return self.pair(x, reader)[0]

    def pair(self, x: torch.Tensor, reader: int = 0) -> Pair:
        """The input of layer number ``reader`` quantized, and before that, for its branch."""
        if self.readers == 1:
            return self._compute(x)
        known = x is self._seen and self._graph == torch.is_grad_enabled()
        if not known or reader not in self._waiting or self._value is None:
            self._seen, self._graph = x, torch.is_grad_enabled()
            self._value, self._waiting = self._compute(x), set(range(self.readers))
        value = self._value
        self._waiting.discard(reader)
        if not self._waiting:
            self._seen = self._value = None  # nobody else will ask: free the memory
        return value

    def _compute(self, x: torch.Tensor) -> Pair:
        x = self.transform.input(x.float())
        if self.activation is None:
            return x, x
        with torch.no_grad():  # the quantizer works in place
            values = self.activation(x)
        if torch.is_grad_enabled() and x.requires_grad:
            return x + (values - x).detach(), x
        return values, x


class QuantizedLinear(nn.Module):
    """``x (..., in) -> source(x) @ weight.T + bias`` with the weight rounded once, beforehand.

    ``weight`` (out, in) holds the dequantized values in the new basis. A ``branch`` adds what it
    makes of the input in that basis before its quantization. Device and type are those of the
    ``nn.Linear`` it replaces; ``source`` and ``branch`` work in float32 whatever that type is, and
    this is reader number ``reader`` of ``source``.
    """

    def __init__(
        self,
        layer: nn.Linear,
        weight: torch.Tensor,
        precision: Precision,
        source: QuantizedInput,
        reader: int = 0,
        branch: FittedBranch | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.precision, self.source, self.reader = precision, source, reader
        self.branch = branch
        # Copies: training the quantized model must never write into the original.
        own = weight.detach().to(layer.weight.device, layer.weight.dtype, copy=True)
        self.weight: torch.Tensor
        self.bias: torch.Tensor | None
        self.register_buffer("weight", own)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.train(layer.training)

    @property
    def transform(self) -> FittedTransform:
        """The basis it works in."""
        return self.source.transform

    @property
    def activation(self) -> ActivationQuantizer | None:
        """The quantizer of its input."""
        return self.source.activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Output (..., out) in the type of the weight."""
        if self.branch is None:
            x = self.source(x, self.reader)
            return F.linear(x.to(self.weight.dtype), self.weight, self.bias)
        quantized, moved = self.source.pair(x, self.reader)
        output = F.linear(quantized.to(self.weight.dtype), self.weight, self.bias)
        return output + applied(self.branch, moved).to(output)

    def extra_repr(self) -> str:
        """Widths and precision, for ``print(model)``."""
        return f"{self.in_features}, {self.out_features}, {self.precision}"
