"""The one module that stands where a quantized ``nn.Linear`` stood."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..contracts import FittedTransform
from ..precision import Precision
from .activation import ActivationQuantizer


class QuantizedLinear(nn.Module):
    """``x (..., in) -> Q(input(x)) @ weight.T + bias`` with the weight rounded once, beforehand.

    ``weight`` (out, in) holds the dequantized values in the new basis. Device and type are those
    of the ``nn.Linear`` it replaces; the quantizer and the transform work in float32 whatever that
    type is. Gradients pass the activation quantizer unchanged (straight-through). A transform that
    is an ``nn.Module`` moves with the layer.
    """

    def __init__(
        self,
        layer: nn.Linear,
        weight: torch.Tensor,
        precision: Precision,
        transform: FittedTransform,
        activation: ActivationQuantizer | None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.precision, self.transform, self.activation = precision, transform, activation
        # Copies: training the quantized model must never write into the original.
        own = weight.detach().to(layer.weight.device, layer.weight.dtype, copy=True)
        self.weight: torch.Tensor
        self.bias: torch.Tensor | None
        self.register_buffer("weight", own)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.train(layer.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Output (..., out) in the type of the weight."""
        x = self.transform.input(x.float())
        if self.activation is not None:
            x = self._fake_quantize(x)
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)

    def _fake_quantize(self, x: torch.Tensor) -> torch.Tensor:
        assert self.activation is not None
        with torch.no_grad():  # the quantizer works in place
            values = self.activation(x)
        if torch.is_grad_enabled() and x.requires_grad:
            return x + (values - x).detach()
        return values

    def extra_repr(self) -> str:
        """Widths and precision, for ``print(model)``."""
        return f"{self.in_features}, {self.out_features}, {self.precision}"
