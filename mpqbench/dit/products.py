"""Matrix products with weights that do not change, laid out in advance where no bit changes.

On a processor, oneDNN multiplies by a weight in a layout of its own faster than PyTorch's linear
layer does by a plain one, as nothing is arranged anew in each product. Both add up the same
numbers; whether in the same order, and so with the same last bits, depends on the processor and on
the shapes. That is tried once for each shape, and the other layout is used only where all bits are
the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

FEWEST_ROWS = 64  # with fewer, calls take longer than products
MOST_BYTES = 2**20  # of a weight: a larger one takes memory twice for little time

_same: dict[tuple[int, ...], bool] = {}  # by rows, inputs, outputs, bias or none, threads


class Product:
    """``x @ weight.T + bias`` of a weight (out, in) that does not change, for inputs (..., in)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        kinds = weight.device.type, weight.dtype
        self._fits = kinds == ("cpu", torch.float32) and weight.nbytes <= MOST_BYTES
        self._fits = self._fits and torch.backends.mkldnn.is_available()
        self._packed: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.numel() // max(x.shape[-1], 1)
        # A part of a larger tensor, as the words behind joint attention, is multiplied image by
        # image by the linear layer, with few rows and so perhaps with other last bits.
        if not self._fits or rows < FEWEST_ROWS or torch.is_grad_enabled() or not x.is_contiguous():
            return F.linear(x, self.weight, self.bias)
        shape = rows, *self.weight.shape, self.bias is None, torch.get_num_threads()
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.contiguous(), rows)
        if shape not in _same:
            _same[shape] = self._is_same(x, rows)
        return self._by_layout(x) if _same[shape] else F.linear(x, self.weight, self.bias)

    def _by_layout(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, "none", [], ""
        )
        return product

    def _is_same(self, x: torch.Tensor, rows: int) -> bool:
        """Return whether both products of random inputs of this shape are equal bit for bit."""
        generator = torch.Generator().manual_seed(0)
        trial = torch.randn(rows, x.shape[-1], generator=generator)
        return torch.equal(self._by_layout(trial), F.linear(trial, self.weight, self.bias))


class Preparable(ABC):
    """A layer that can be prepared for many forwards without gradients."""

    @abstractmethod
    def prepared(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the forward of the layer, valid until the layer changes."""


def prepared(layer: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the forward of a layer of a model that does not change, faster where possible."""
    if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
        return layer
    if isinstance(layer, Preparable):
        return layer.prepared()
    return Product(layer.weight, layer.bias) if type(layer) is nn.Linear else layer
