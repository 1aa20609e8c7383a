"""One scale per input channel: what SmoothQuant, AWQ and PTQ4DiT end up with."""

import torch
from torch import nn

from mpqbench.contracts import LayerData, Operations, Transform, TransformSize
from mpqbench.core.errors import BenchError

# 1e30 < 2^100 and float32 ends at 2^128: numbers up to 1e30 stay finite on either side.
LARGEST = 2.0**24
SMALLEST = 1 / LARGEST


class Scaling(nn.Module):
    """``x / s`` and ``W * s`` with s (in,) positive, made ``safe`` first.

    The division is counted as done online in every forward, one multiplication per channel, also
    where a deployment could fold it into the layer before; s is stored in 16 bits a channel.
    """

    scale: torch.Tensor

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", safe(scale.detach().float()))

    def weight(self, weight: torch.Tensor) -> torch.Tensor:
        """Return weight (out, in) with its columns multiplied by s."""
        return weight * self.scale

    def input(self, x: torch.Tensor) -> torch.Tensor:
        """Return input (..., in) with its channels divided by s."""
        return x / self.scale


class ScalingTransform(Transform):
    """A transform that gives every input channel one scale."""

    def size(self, name: str, in_features: int) -> TransformSize:
        """Return one multiplication and 16 bits for each channel."""
        smoothing = Operations(multiplications=in_features)
        return TransformSize(smoothing=smoothing, extra_bits=16 * in_features)


def safe(scale: torch.Tensor) -> torch.Tensor:
    """Limit scales (in,) float32 to 2^-24 to 2^24, so that scaling costs rounding errors alone.

    A channel that is zero in the inputs or in the weight has scale zero, infinity or NaN by the
    published formulas. Its scale becomes the geometric mean of the others, or 1 where there are
    none. Both are our choice.
    """
    dead = ~(scale.isfinite() & (scale > 0))
    if dead.all():
        return torch.ones_like(scale)
    mean = scale[~dead].log().mean().exp()
    return torch.where(dead, mean, scale).clamp(SMALLEST, LARGEST)


def step_maxima(layer: LayerData) -> torch.Tensor:
    """Return the largest ``|x|`` (steps, in) of each channel at each step, the noisiest first.

    Raises BenchError for a layer without calibration data.
    """
    if layer.step_maxima is None:
        raise BenchError(f"layer {layer.name}: a scaling of channels needs their calibrated maxima")
    return layer.step_maxima
