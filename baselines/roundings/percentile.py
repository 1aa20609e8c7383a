"""Round to nearest on the best of a few percentile ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field

from mpqbench.contracts import Rounding, plugin
from mpqbench.quant.affine import range_of, round_to_nearest, weight_blocks, weight_rows
from mpqbench.quant.clipping import Range, least_error_qparams, weight_error

if TYPE_CHECKING:
    from mpqbench.contracts import LayerData, QuantizedWeight
    from mpqbench.core.formats import WeightFormat


@plugin
class Percentile(Rounding):
    """Rounds to nearest on ranges from the ``1 - p`` to the ``p`` quantile of each grid.

    p is the one of least squared error.

    The three default quantiles are those of PTQ4DiT's code (arXiv 2405.16005); the full range is
    always a candidate too (our choice), so that this never loses to nearest rounding in weight
    MSE and an already rounded weight is left alone.
    """

    percentiles: tuple[Annotated[float, Field(gt=0.5, le=1)], ...] = (0.99999, 0.9999, 0.999)
    needs_inputs = False

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Round weight (out, in). Raises BenchError where a group does not divide ``in``."""
        weight = weight.float()
        blocks, rows = (view(weight, fmt, layer.name) for view in (weight_blocks, weight_rows))
        ranges = [range_of(blocks), *self._ranges(blocks)]
        qparams = least_error_qparams(rows, ranges, weight_error(), bits, fmt.symmetric)
        return round_to_nearest(weight, qparams, fmt, layer.name)

    def _ranges(self, blocks: torch.Tensor) -> Iterator[Range]:
        ordered = blocks.sort(-1).values
        for p in self.percentiles:
            yield _quantile(ordered, 1 - p), _quantile(ordered, p)


def _quantile(ordered: torch.Tensor, p: float) -> torch.Tensor:
    """Interpolate a quantile linearly; torch.quantile refuses more than 2^24 numbers."""
    position = p * (ordered.shape[-1] - 1)
    below = int(position)
    above = min(below + 1, ordered.shape[-1] - 1)
    ends = ordered[..., below, None], ordered[..., above, None]
    return torch.lerp(*ends, position - below)
