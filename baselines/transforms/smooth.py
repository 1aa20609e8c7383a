"""SmoothQuant: difficulty moved from the activations into the weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mpqbench.contracts import Transform, plugin
from mpqbench.core.errors import BenchError
from mpqbench.quant.layer_error import OutputError

from .scaling import Scaling, step_maxima

if TYPE_CHECKING:
    import torch

    from mpqbench.contracts import LayerData


@plugin
class Smooth(Transform):
    """``s_j = max|X_j|^alpha / max_i|W_ij|^(1 - alpha)`` (arXiv 2211.10438, equation 4).

    The maxima of the inputs are exact over all calibration rows. ``alpha="search"`` takes, for each
    layer, that of 0, 1/grid, ..., 1 with the least output error at the layer's own precision; the
    smaller one where two tie. Raises BenchError for alpha outside 0 to 1 and grid below 1.
    """

    alpha: float | Literal["search"] = 0.5
    grid: int = 20

    needs_inputs = True

    def __post_init__(self) -> None:
        check_alpha(self.alpha, "search")
        check_grid(self.grid)

    def fit(self, weight: torch.Tensor, layer: LayerData) -> Scaling:
        """Scales for weight (out, in). Raises BenchError where calibration is missing."""
        largest = step_maxima(layer).amax(0)
        if self.alpha != "search":
            return smoothing(weight, largest, float(self.alpha))
        alphas = (step / self.grid for step in range(self.grid + 1))
        return min((smoothing(weight, largest, a) for a in alphas), key=OutputError(weight, layer))


def smoothing(weight: torch.Tensor, largest: torch.Tensor, alpha: float) -> Scaling:
    """SmoothQuant's scales of weight (out, in) whose inputs have channel maxima (in,)."""
    return Scaling(largest.pow(alpha) / weight.abs().amax(0).pow(1 - alpha))


def check_alpha(alpha: object, *words: str) -> None:
    """Raises BenchError unless ``alpha`` is a number from 0 to 1 or one of ``words``."""
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if alpha not in words and not (number and 0 <= alpha <= 1):  # type: ignore[operator]
        choices = " or ".join(["a number from 0 to 1", *words])
        raise BenchError(f"alpha must be {choices}, not {alpha!r}")


def check_grid(grid: object) -> None:
    """Raises BenchError unless ``grid`` is a whole number of at least 1."""
    if not isinstance(grid, int) or isinstance(grid, bool) or grid < 1:
        raise BenchError(f"grid must be a whole number of at least 1, not {grid!r}")
