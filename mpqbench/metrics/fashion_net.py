"""The embedded feature network: a small CNN classifier for 32x32 grey images of clothes.

It stands in for Inception where no weights can be fetched. Distances on its features are
called FD and sFD, never FID.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ..core.errors import BenchError

SPATIAL_CHANNELS = 7  # as many channels as the ADM evaluator takes for sFID


class FashionFeatures(NamedTuple):
    """What one pass gives: pooled (N, 4w), spatial (N, 8*8*7) in NHWC order, logits (N, 10)."""

    pooled: torch.Tensor
    spatial: torch.Tensor
    logits: torch.Tensor


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class FashionNet(nn.Module):
    """Five 3x3 convolutions at three scales, global average pooling, one linear head (our choice).

    ``width`` is the number of channels of the first scale; the pooled features have 4 x width
    dimensions. ``width=32`` judges (128 features); a narrower one with another seed serves as
    perceptual loss of the autoencoder, so that nothing is ever trained against its judge.
    """

    def __init__(self, width: int = 32, classes: int = 10) -> None:
        super().__init__()
        self.width = width
        self.scale1 = _conv(1, width)
        self.scale2 = nn.Sequential(_conv(width, 2 * width), _conv(2 * width, 2 * width))
        self.scale3 = nn.Sequential(_conv(2 * width, 4 * width), _conv(4 * width, 4 * width))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4 * width, classes)

    def maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Feature maps at 32x32, 16x16 and 8x8 of images (N, 1, 32, 32) in [-1, 1]."""
        first = self.scale1(images)
        second = self.scale2(self.pool(first))
        return first, second, self.scale3(self.pool(second))

    def forward(self, images: torch.Tensor) -> FashionFeatures:
        """Features of images (N, 1, 32, 32) in [-1, 1]."""
        last = self.maps(images)[-1]
        pooled = last.mean(dim=(2, 3))
        spatial = last[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        return FashionFeatures(pooled, spatial, self.head(pooled))


def fashion_input(images: torch.Tensor) -> torch.Tensor:
    """float32 (N, 1, 32, 32) in [-1, 1] from uint8 (N, 1 or 3, 32, 32).

    Raises BenchError where three channels are not equal: colour would be lost without a word.
    """
    grey = images[:, :1]
    if not torch.equal(grey.expand_as(images), images):
        raise BenchError("fashion features are of grey images; these have colour")
    return grey.float() / 127.5 - 1.0


def load_fashion_net(weights: Path | None = None) -> FashionNet:
    """FashionNet with the packaged weights, or those of a safetensors file; any width."""
    if weights is not None:
        return _fashion_from(weights)
    asset = resources.files("mpqbench.assets") / "features" / "fashion-net.safetensors"
    with resources.as_file(asset) as path:
        if not path.is_file():
            raise BenchError(f"the packaged weights {asset} are missing: reinstall mpqbench")
        return _fashion_from(path)


def _fashion_from(path: Path) -> FashionNet:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
        width, classes = len(state["scale1.0.weight"]), len(state["head.weight"])
        network = FashionNet(width, classes)
        network.load_state_dict(state)
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"{path} does not hold FashionNet weights: {reason}") from None
    return network
