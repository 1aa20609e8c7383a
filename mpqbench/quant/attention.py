"""Attention whose two products work on quantized operands: softmax(QK^T)V at b bits."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..core.errors import BenchError
from .affine import fake_quantize_dynamic, straight_through


@dataclass(frozen=True)
class QuantizedAttention:
    """A diffusers attention processor for self-attention without a mask.

    Every operand has asymmetric min-max ranges in each forward, one for each vector that a product
    sums over, so that the scales leave the sum: queries and keys per token and head, attention
    weights per query, values per channel over all tokens (our choice; PTQ4DiT, arXiv 2405.16005,
    quantizes the same operands with static ranges).
    """

    bits: int

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Map hidden_states (n, tokens, width) to the same shape. Raises BenchError for a mask."""
        if encoder_hidden_states is not None or attention_mask is not None:
            raise BenchError("attention is quantized for self-attention without a mask only")
        query, key, value = (
            layer(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2).float()
            for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        mixed = self.attend(query, key, value)
        out = attn.to_out[0](mixed.transpose(1, 2).flatten(2).to(hidden_states.dtype))
        return attn.to_out[1](out)

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Mix values by queries and keys, all (n, heads, tokens, channels) float32."""
        scores = self._quantized(query) @ self._quantized(key).transpose(-1, -2)
        weights = (scores / math.sqrt(query.shape[-1])).softmax(-1)
        by_channel = self._quantized(value.transpose(-1, -2)).transpose(-1, -2)
        return self._quantized(weights) @ by_channel

    def _quantized(self, x: torch.Tensor) -> torch.Tensor:
        return straight_through(lambda y: fake_quantize_dynamic(y, self.bits, symmetric=False), x)
