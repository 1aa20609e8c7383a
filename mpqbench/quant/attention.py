"""Attention whose two products work on quantized operands: softmax(QK^T)V at b bits."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..core.errors import BenchError
from ..dit.replaced import replaced_attention
from .affine import fake_quantize_dynamic, straight_through


@dataclass(frozen=True)
class QuantizedAttention:
    """Scaled dot-product attention on operands at ``bits``.

    Every operand has asymmetric min-max ranges in each forward, one for each vector that a product
    sums over, so that the scales leave the sum: queries and keys per token and head, attention
    weights per query, values per channel over all tokens (our choice; PTQ4DiT, arXiv 2405.16005,
    quantizes the same operands with static ranges).
    """

    bits: int

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        **options: Any,
    ) -> torch.Tensor:
        """Mix values by queries and keys, all (n, heads, tokens, channels), in their type.

        ``attn_mask`` is added to the scores, or says where a query may look. Raises BenchError for
        an option of PyTorch's attention that no supported architecture uses.
        """
        for name, usual in _USUAL.items():
            if options.get(name, usual) not in (usual, None):
                raise BenchError(f"attention with {name} {options[name]} cannot be quantized")
        query, key, value, dtype = query.float(), key.float(), value.float(), value.dtype
        scores = self._quantized(query) @ self._quantized(key).transpose(-1, -2)
        scores = scores / math.sqrt(query.shape[-1])
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        by_channel = self._quantized(value.transpose(-1, -2)).transpose(-1, -2)
        return (self._quantized(scores.softmax(-1)) @ by_channel).to(dtype)

    def of(self, module: nn.Module) -> Any:
        """Return the forward of an attention ``module`` with its products quantized."""
        forward = module.forward

        def quantized(*args: Any, **named: Any) -> Any:
            with replaced_attention(self):
                return forward(*args, **named)

        return quantized

    def _quantized(self, x: torch.Tensor) -> torch.Tensor:
        return straight_through(lambda y: fake_quantize_dynamic(y, self.bits, symmetric=False), x)


_USUAL = {"dropout_p": 0.0, "is_causal": False, "scale": None, "enable_gqa": False}
