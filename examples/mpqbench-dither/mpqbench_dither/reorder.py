"""Channels in the order of their size."""

from __future__ import annotations

import torch
from mpqbench.contracts import FittedTransform, LayerData, Transform, plugin
from mpqbench.core.errors import BenchError
from torch import nn

MEASURES = ("input", "weight")


class Order(nn.Module):
    """Columns in another order: no arithmetic, one index stored per channel."""

    index: torch.Tensor

    def __init__(self, index: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index)
        self.macs_per_token = 0
        self.extra_bits = index.numel() * max(1, (index.numel() - 1).bit_length())

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Weight (out, in) with its columns reordered."""
        return weight[:, self.index]

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Input (..., in) with its channels reordered."""
        return x[..., self.index]


@plugin
class Reorder(Transform):
    """Largest channels first, so that those of one group share a range (after RPTQ, 2304.01089).

    ``by`` says whose size counts: "input", the mean square of a channel, or "weight", the largest
    magnitude of a column.
    """

    by: str = "input"

    needs_inputs = True

    def __post_init__(self) -> None:
        if self.by not in MEASURES:
            raise BenchError(f"by is one of {', '.join(MEASURES)}, not '{self.by}'")

    def fit(self, weight: torch.Tensor, layer: LayerData) -> FittedTransform:
        """The order for weight (out, in). Raises BenchError where calibration is missing."""
        if self.by == "weight":
            return Order(weight.abs().amax(0).argsort(descending=True, stable=True))
        if layer.moment is None:
            raise BenchError(f"layer {layer.name}: reordering by input needs its moment")
        return Order(layer.moment.diagonal().argsort(descending=True, stable=True))
