"""The module that stands where a quantized ``nn.Linear`` stood, and what it does to its input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import FittedTransform
from ..precision import Precision
from .activation import ActivationQuantizer


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
        self._value: torch.Tensor | None = None
        self._graph = False
        self._waiting: set[int] = set()

    def forward(self, x: torch.Tensor, reader: int = 0) -> torch.Tensor:
        """The input of layer number ``reader``."""
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

    def _compute(self, x: torch.Tensor) -> torch.Tensor:
        x = self.transform.input(x.float())
        if self.activation is None:
            return x
        with torch.no_grad():  # the quantizer works in place
            values = self.activation(x)
        if torch.is_grad_enabled() and x.requires_grad:
            return x + (values - x).detach()
        return values


class QuantizedLinear(nn.Module):
    """``x (..., in) -> source(x) @ weight.T + bias`` with the weight rounded once, beforehand.

    ``weight`` (out, in) holds the dequantized values in the new basis. Device and type are those
    of the ``nn.Linear`` it replaces; ``source`` works in float32 whatever that type is, and this is
    its reader number ``reader``.
    """

    def __init__(
        self,
        layer: nn.Linear,
        weight: torch.Tensor,
        precision: Precision,
        source: QuantizedInput,
        reader: int = 0,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.precision, self.source, self.reader = precision, source, reader
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
        x = self.source(x, self.reader)
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)

    def extra_repr(self) -> str:
        """Widths and precision, for ``print(model)``."""
        return f"{self.in_features}, {self.out_features}, {self.precision}"
