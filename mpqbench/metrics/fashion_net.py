"""The embedded feature network: a small CNN classifier for grey 32x32 images of clothes.

Distances between its features are called FD and sFD, never FID.
"""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from ..core.errors import BenchError
from ..core.sources import read_digest
from .features import SPATIAL_CHANNELS, FeatureNetwork, Outputs

Net = TypeVar("Net", bound=nn.Module)


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class FashionNet(nn.Module):
    """Five 3x3 convolutions at three scales, global average pooling and a linear layer.

    ``width`` is the number of channels at the first scale: 32 in the feature network, fewer in the
    perceptual loss that trains the autoencoder, so that no model is trained against the network
    that judges it. The architecture is our choice. Images have one channel unless ``channels`` says
    otherwise.
    """

    def __init__(self, width: int = 32, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.width = width
        self.scale1 = _conv(channels, width)
        self.scale2 = nn.Sequential(_conv(width, 2 * width), _conv(2 * width, 2 * width))
        self.scale3 = nn.Sequential(_conv(2 * width, 4 * width), _conv(4 * width, 4 * width))
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4 * width, classes)

    def maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return feature maps at 32x32, 16x16 and 8x8 of images (N, C, 32, 32) in [-1, 1]."""
        first = self.scale1(images)
        second = self.scale2(self.pool(first))
        return first, second, self.scale3(self.pool(second))

    def forward(self, images: torch.Tensor) -> Outputs:
        """Return pooled (N, 4w), spatial (N, 448) and logits (N, classes) of images in [-1, 1]."""
        last = self.maps(images)[-1]
        pooled = last.mean(dim=(2, 3))
        spatial = last[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        return Outputs(pooled, spatial, self.head(pooled))


class FashionNetwork(FeatureNetwork):
    """FashionNet as a feature network: 4 x width pooled features, 448 spatial ones, 10 logits."""

    name = "fashion"
    image_shape = (32, 32, 1)
    spatial_dimension = SPATIAL_CHANNELS * 8 * 8

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        network = load_fashion_net(weights)
        self.dimension = 4 * network.width
        super().__init__(network, weights or _packaged(), read_digest(_packaged()), device)

    def prepare(self, images: np.ndarray) -> torch.Tensor:
        grey = images[..., :1]
        if not (grey == images).all():
            raise BenchError("fashion features are of grey images; these have colour")
        return torch.from_numpy(grey).permute(0, 3, 1, 2).float() / 127.5 - 1.0

    def forward(self, inputs: torch.Tensor) -> Outputs:
        return self.module(inputs)


def load_fashion_net(weights: Path | None = None) -> FashionNet:
    """Load FashionNet with the packaged weights, or those of a safetensors file of any width.

    Raises BenchError where the file is missing or holds something else.
    """
    return load_network(
        weights or _packaged(),
        "FashionNet",
        lambda state: FashionNet(len(state["scale1.0.weight"]), len(state["head.weight"])),
    )


def load_network(path: Path, name: str, build: Callable[[dict[str, torch.Tensor]], Net]) -> Net:
    """Load the network that ``build`` makes for the weights of a safetensors file, as float32.

    Raises BenchError where the file is missing or holds something else.
    """
    try:
        state = load_file(path)
        with torch.device("meta"):  # allocates nothing: a small file may claim a large network
            network = build(state)
        single = {key: v.float() if v.is_floating_point() else v for key, v in state.items()}
        network.load_state_dict(single, assign=True)
    except Exception as error:  # safetensors, mmap and torch have no error in common
        reason = " ".join(str(error).split())[:200]
        raise BenchError(f"{path} does not hold {name} weights: {reason}") from None
    return network


def _packaged() -> Path:
    return Path(str(files("mpqbench.assets"))) / "features" / "fashion-net.safetensors"
