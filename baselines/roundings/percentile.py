"""Round to nearest on the best of a few percentile ranges."""

from typing import Annotated

import torch
from pydantic import Field

from mpqbench.contracts import LayerData, QuantizedWeight, Rounding, plugin
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import range_of, round_to_nearest, weight_blocks, weight_rows
from mpqbench.quant.clipping import least_error_qparams, weight_error


@plugin
class Percentile(Rounding):
    """Rounds to nearest on the range from the ``1 - p`` to the ``p`` quantile of each grid.

    p is that of least squared error. The three default quantiles are those of PTQ4DiT's code (arXiv
    2405.16005); the full range is always a candidate too (our choice), so that this never loses to
    nearest rounding in weight MSE and leaves an already rounded weight alone.
    """

    percentiles: tuple[Annotated[float, Field(gt=0.5, le=1)], ...] = (0.99999, 0.9999, 0.999)

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Round weight (out, in). Raises BenchError where a group does not divide ``in``."""
        weight = weight.float()
        blocks, rows = (view(weight, fmt, layer.name) for view in (weight_blocks, weight_rows))
        ordered = blocks.sort(-1).values
        ranges = ((_quantile(ordered, 1 - p), _quantile(ordered, p)) for p in self.percentiles)
        qparams = least_error_qparams(
            rows, [range_of(blocks), *ranges], weight_error(), bits, fmt.symmetric
        )
        return round_to_nearest(weight, qparams, fmt, layer.name)


def _quantile(ordered: torch.Tensor, p: float) -> torch.Tensor:
    """Interpolate a quantile linearly; torch.quantile refuses more than 2^24 numbers."""
    position = p * (ordered.shape[-1] - 1)
    below = int(position)
    above = min(below + 1, ordered.shape[-1] - 1)
    return torch.lerp(ordered[..., below, None], ordered[..., above, None], position - below)
