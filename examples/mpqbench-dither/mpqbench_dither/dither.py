"""Rounding up or down at random."""

from __future__ import annotations

import torch
from mpqbench.contracts import LayerData, QuantizedWeight, Rounding, plugin
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import quantize_weight

EXACT = 1e-4  # of a step: what lies this close to a level is on it


@plugin
class Dither(Rounding):
    """To one of the two neighbouring levels, the nearer the likelier (Gupta et al., 1502.02551).

    The mean over seeds is the weight itself; the price is about twice the squared error of nearest
    rounding. ``amount`` mixes both: 0 is nearest rounding, 1 the unbiased one.
    """

    amount: float = 1.0

    needs_inputs = False
    error_bound = 3.0  # 2 on average, more on a layer of few weights

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 1:
            raise BenchError(f"amount lies between 0 and 1, not {self.amount}")

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Integers for weight (out, in), drawn from ``layer.seed``."""
        nearest = quantize_weight(weight, fmt, bits, layer.name)
        columns = weight.shape[1] // nearest.scale.shape[1]
        step = nearest.scale.repeat_interleave(columns, 1)
        # Steps from the nearest level, -0.5 to 0.5; beyond that lies only what the grid cuts off.
        away = ((weight - nearest.dequantize()) / step).clamp(-0.5, 0.5) * self.amount
        generator = torch.Generator().manual_seed(layer.seed)
        draw = torch.rand(weight.shape, generator=generator).to(weight.device)
        moves = (draw < away.abs()) & (away.abs() > EXACT)
        integers = nearest.integers + (moves * away.sign()).to(torch.int16)
        lowest = -(2 ** (bits - 1)) if fmt.symmetric else 0
        integers = integers.clamp(lowest, lowest + 2**bits - 1)
        return QuantizedWeight(integers, nearest.scale, nearest.zero, bits)
