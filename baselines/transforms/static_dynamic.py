"""ViDiT-Q's static-dynamic channel balance: a fixed smoothing, then a rotation."""

import torch
from pydantic import PositiveInt
from torch import nn

from mpqbench.contracts import LayerData, Transform, TransformSize, plugin
from mpqbench.core.errors import BenchError

from .hadamard import Hadamard, Rotation
from .scaling import Scaling, step_maxima
from .smooth import Share, Smooth, smoothing


@plugin
class StaticDynamic(Transform):
    """SmoothQuant's scales from the noisiest steps, then ``hadamard`` (arXiv 2406.02540).

    The imbalance of channels that all steps share is scaled away once, from the maxima of the
    ``noisiest`` first steps of sampling; what changes over time is left to the rotation. ``alpha``
    is that of ``smooth``, ``block`` that of ``hadamard``.
    """

    alpha: Share = 0.5
    noisiest: PositiveInt = 1
    block: int | None = None
    needs_inputs = True
    needs_activation_bits = False

    def __post_init__(self) -> None:
        Hadamard(self.block)

    def size(self, name: str, in_features: int) -> TransformSize:
        """Return both sizes. Raises BenchError where ``block`` does not divide the width."""
        scaling, rotation = Smooth().size(name, in_features), Hadamard(self.block)
        turned = rotation.size(name, in_features)
        bits = scaling.extra_bits + turned.extra_bits
        return TransformSize(turned.rotation, scaling.smoothing, bits)

    def fit(self, weight: torch.Tensor, layer: LayerData) -> "ScaledRotation":
        """Fit scales and rotation to weight (out, in).

        Raises BenchError where calibration is missing or has fewer than ``noisiest`` steps, and
        where ``block`` does not divide ``in``.
        """
        maxima = step_maxima(layer)
        if self.noisiest > len(maxima):
            reason = f"noisiest is {self.noisiest} and calibration has only {len(maxima)} steps"
            raise BenchError(f"layer {layer.name}: {reason}")
        scaling = smoothing(weight, maxima[: self.noisiest].amax(0), self.alpha)
        return ScaledRotation(scaling, Hadamard(self.block).fit(weight, layer))


class ScaledRotation(nn.Module):
    """A scaling, then a rotation."""

    def __init__(self, scaling: Scaling, rotation: Rotation) -> None:
        super().__init__()
        self.scaling, self.rotation = scaling, rotation

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Return weight (out, in), scaled and rotated."""
        return self.rotation.weight(self.scaling.weight(weight))

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Return input (..., in), scaled and rotated."""
        return self.rotation.input(self.scaling.input(x))
