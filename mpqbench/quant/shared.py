"""One branch for all layers of a group: a down-projection that they share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..contracts import Branch, BranchSize, FittedBranch, LayerData, QuantizedWeight, Rounding
from .branch import lent, round_beside

Rounded = tuple[QuantizedWeight, "BranchRows | None"]


class BranchRows(nn.Module):
    """The outputs ``start`` to ``stop`` of a branch ``whole`` that several layers share.

    ``size`` is that of the whole branch, which a group counts once.
    """

    def __init__(self, whole: Any, start: int, stop: int) -> None:
        super().__init__()
        self.whole, self.start, self.stop = whole, start, stop
        self.size: BranchSize = whole.size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map an input (..., in) to the outputs of one layer (..., stop - start)."""
        output: torch.Tensor = self.whole(x)[..., self.start : self.stop]
        return output

    def dense(self) -> torch.Tensor:
        """Return the rows of one layer, (stop - start, in)."""
        matrix: torch.Tensor = self.whole.dense()[self.start : self.stop]
        return matrix


@dataclass(frozen=True)
class _EachLayer:
    """Rounds stacked weights layer by layer, each as ``rounding`` would by itself."""

    rounding: Rounding
    layers: Sequence[LayerData]

    def round(self, weight: torch.Tensor, *_of_stack: object) -> QuantizedWeight:
        parts = weight.split([data.out_features for data in self.layers])
        made = [
            self.rounding.round(part.clone(), lent(d), d.weight_format, d.precision.weight_bits)
            for part, d in zip(parts, self.layers, strict=True)
        ]
        return QuantizedWeight(
            torch.cat([q.integers for q in made]),
            torch.cat([q.scale.expand(len(q.integers), -1) for q in made]),
            torch.cat([q.zero.expand(len(q.integers), -1) for q in made]),
            made[0].bits,
        )


def round_beside_shared(
    weights: Sequence[torch.Tensor], layers: Sequence[LayerData], rounding: Rounding, branch: Branch
) -> list[Rounded]:
    """Split weights (out, in) that read one input into rounded residuals and one branch.

    As ``round_beside`` on the stacked weights, each rounded by itself; the error that decides is
    that of all layers together, as in SVDQuant's own code (deepcompressor, calib/lowrank.py).
    """
    starts = [0]
    for data in layers:
        starts.append(starts[-1] + data.out_features)
    whole = replace(layers[0], out_features=starts[-1])
    each: Any = _EachLayer(rounding, layers)
    stacked, fitted = round_beside(torch.cat(list(weights)), whole, each, branch)
    found: list[Rounded] = []
    for start, stop, data in zip(starts, starts[1:], layers, strict=False):
        last = start + 1 if data.weight_format.granularity == "tensor" else stop
        parts = (stacked.scale[start:last], stacked.zero[start:last])
        rounded = QuantizedWeight(stacked.integers[start:stop], *parts, stacked.bits)
        found.append((rounded, _rows(fitted, start, stop)))
    return found


def _rows(fitted: FittedBranch | None, start: int, stop: int) -> BranchRows | None:
    return None if fitted is None else BranchRows(fitted, start, stop)
