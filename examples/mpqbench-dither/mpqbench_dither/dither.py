"""Rounding up or down at random."""

from typing import Annotated

import torch
from mpqbench.contracts import LayerData, QuantizedWeight, Rounding, plugin
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import quantize_weight
from pydantic import Field

EXACT = 1e-4  # of a step: a weight this close to a level is on the level


@plugin
class Dither(Rounding):
    """Rounds up or down at random, to the nearer level more often (Gupta et al., 1502.02551).

    The mean over seeds is the weight itself; the price is about twice the squared error of nearest
    rounding. ``amount`` mixes both: 0 is nearest rounding, 1 the unbiased one.
    """

    amount: Annotated[float, Field(ge=0, le=1)] = 1.0

    error_bound = 3.0  # 2 on average, more on a layer of few weights

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Round weight (out, in) with numbers drawn from ``layer.seed``."""
        nearest = quantize_weight(weight, fmt, bits, layer.name)
        columns = weight.shape[1] // nearest.scale.shape[1]
        step = nearest.scale.repeat_interleave(columns, 1)
        # Steps from the nearest level, -0.5 to 0.5; weights beyond the range are clipped.
        away = ((weight - nearest.dequantize()) / step).clamp(-0.5, 0.5) * self.amount
        generator = torch.Generator().manual_seed(layer.seed)
        draw = torch.rand(weight.shape, generator=generator).to(weight.device)
        moves = (draw < away.abs()) & (away.abs() > EXACT)
        integers = nearest.integers + (moves * away.sign()).to(torch.int16)
        lowest = -(2 ** (bits - 1)) if fmt.symmetric else 0
        integers = integers.clamp(lowest, lowest + 2**bits - 1)
        return QuantizedWeight(integers, nearest.scale, nearest.zero, bits)
