"""SmoothQuant: scales that move outliers from the activations into the weight."""

from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from mpqbench.contracts import LayerData, plugin
from mpqbench.quant.layer_error import OutputError

from .scaling import Scaling, ScalingTransform, step_maxima

Share = Annotated[float, Field(ge=0, le=1)]


@plugin
class Smooth(ScalingTransform):
    """``s_j = max|X_j|^alpha / max_i|W_ij|^(1 - alpha)`` (arXiv 2211.10438, equation 4).

    The maxima of the inputs are exact over all calibration rows. ``alpha="search"`` takes, for each
    layer, that of 0, 1/grid, ..., 1 with the least output error at the layer's own precision; the
    smaller one where two tie.
    """

    alpha: Share | Literal["search"] = 0.5
    grid: PositiveInt = 20
    needs_inputs = True

    def fit(self, weight: torch.Tensor, layer: LayerData) -> Scaling:
        """Fit scales to weight (out, in). Raises BenchError where calibration is missing."""
        largest = step_maxima(layer).amax(0)
        if self.alpha != "search":
            return smoothing(weight, largest, float(self.alpha))
        alphas = (step / self.grid for step in range(self.grid + 1))
        return min((smoothing(weight, largest, a) for a in alphas), key=OutputError(weight, layer))


def smoothing(weight: torch.Tensor, largest: torch.Tensor, alpha: float) -> Scaling:
    """Return SmoothQuant's scales of weight (out, in) whose inputs have channel maxima (in,)."""
    return Scaling(largest.pow(alpha) / weight.abs().amax(0).pow(1 - alpha))
