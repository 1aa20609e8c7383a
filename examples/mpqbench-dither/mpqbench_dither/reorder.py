"""Channels in the order of their size."""

from typing import Literal

import torch
from mpqbench.contracts import FittedTransform, LayerData, Transform, plugin
from mpqbench.core.errors import BenchError
from torch import nn


class Order(nn.Module):
    """Columns in another order, with no arithmetic and one stored index per channel."""

    index: torch.Tensor

    def __init__(self, index: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.extra_bits = index.numel() * max(1, (index.numel() - 1).bit_length())

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Return weight (out, in) with its columns reordered."""
        return weight[:, self.index]

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Return input (..., in) with its channels reordered."""
        return x[..., self.index]


@plugin
class Reorder(Transform):
    """Puts the largest channels first, so that groups share a range (after RPTQ, 2304.01089).

    ``by`` says whose size counts: "input", the mean square of a channel, or "weight", the largest
    magnitude of a column.
    """

    by: Literal["input", "weight"] = "input"

    needs_inputs = True

    def fit(self, weight: torch.Tensor, layer: LayerData) -> FittedTransform:
        """Find the order for weight (out, in). Raises BenchError where calibration is missing."""
        if self.by == "weight":
            return Order(weight.abs().amax(0).argsort(descending=True, stable=True))
        if layer.moment is None:
            raise BenchError(f"layer {layer.name}: reordering by input needs its moment")
        return Order(layer.moment.diagonal().argsort(descending=True, stable=True))
