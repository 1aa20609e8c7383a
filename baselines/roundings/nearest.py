"""Round to nearest on the min-max grid."""

import torch

from mpqbench.contracts import LayerData, QuantizedWeight, Rounding, plugin
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import quantize_weight


@plugin
class Nearest(Rounding):
    """Rounds every weight to the nearest number of its grid, halves to even (arXiv 1806.08342)."""

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """Round weight (out, in). Raises BenchError where a group does not divide ``in``."""
        return quantize_weight(weight, fmt, bits, layer.name)
