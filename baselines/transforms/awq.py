"""AWQ: scales that round the weight columns of large activations more finely."""

import torch
from pydantic import PositiveInt

from mpqbench.contracts import LayerData, plugin
from mpqbench.core.errors import BenchError
from mpqbench.quant.layer_error import OutputError

from .scaling import Scaling, ScalingTransform, safe


@plugin
class AWQ(ScalingTransform):
    """``s = mean|X_j|^a`` divided by ``sqrt(max s * min s)`` (arXiv 2306.00978, section 3.2).

    ``a`` is that of 0, 1/grid, ..., 1 with the least output error of the layer with rounded weight
    and unrounded activations; the smaller one where two tie. With a = 0 nothing is scaled, so on
    the calibration rows the weight never loses to no transform. The clipping that AWQ adds is a
    rounding, not a change of basis.
    """

    grid: PositiveInt = 20
    needs_inputs = True
    needs_activation_bits = False

    def fit(self, weight: torch.Tensor, layer: LayerData) -> Scaling:
        """Fit scales to weight (out, in). Raises BenchError where calibration is missing."""
        if layer.inputs is None:
            raise BenchError(f"layer {layer.name}: awq needs calibration inputs")
        mean = layer.inputs.abs().mean(0)
        exponents = (step / self.grid for step in range(self.grid + 1))
        error = OutputError(weight, layer, activations=False)
        return min((_centred(mean, exponent) for exponent in exponents), key=error)


def _centred(mean: torch.Tensor, exponent: float) -> Scaling:
    scale = safe(mean.pow(exponent))
    return Scaling(scale / (scale.max() * scale.min()).sqrt())
