"""The feature network of emoji: a small CNN classifier of colour 32x32 images on white.

Distances between its features are called FD and sFD, never FID.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..core.errors import BenchError
from ..core.sources import read_digest
from .fashion_net import FashionNet, load_network
from .features import SPATIAL_CHANNELS, FeatureNetwork, Outputs


class EmojiNet(FashionNet):
    """FashionNet for three channels: logits of subcategories, and a second head for names."""

    def __init__(self, width: int, subcategories: int, names: int) -> None:
        super().__init__(width, subcategories, channels=3)
        self.names = nn.Linear(4 * width, names)


class EmojiNetwork(FeatureNetwork):
    """EmojiNet as a feature network: 4 x width pooled features, 448 spatial ones, subcategories."""

    name = "emoji"
    image_shape = (32, 32, 3)
    spatial_dimension = SPATIAL_CHANNELS * 8 * 8
    module: EmojiNet

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        network = load_emoji_net(weights)
        self.dimension = 4 * network.width
        packaged = packaged_weights()
        published = read_digest(packaged) if packaged.is_file() else ""
        super().__init__(network, weights or packaged, published, device)

    def prepare(self, images: np.ndarray) -> torch.Tensor:
        if images.shape[-1] != 3:
            raise BenchError("emoji features are of colour images; these have one channel")
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0

    def forward(self, inputs: torch.Tensor) -> Outputs:
        return self.module(inputs)

    def ranks(self, pooled: np.ndarray, names: np.ndarray) -> np.ndarray:
        """Return how many names the network finds likelier than the asked one, int64 (N,).

        ``pooled`` (N, d) are features of images, ``names`` (N,) the indices of the names that were
        asked for: prompt accuracy is the share of rank 0 (top-1) or of ranks below 5 (top-5).
        """
        with torch.inference_mode():
            logits = self.module.names(torch.from_numpy(pooled).to(self.device))
            asked = logits.gather(1, torch.from_numpy(names).to(self.device)[:, None])
            return (logits > asked).sum(1).cpu().numpy()


def load_emoji_net(weights: Path | None = None) -> EmojiNet:
    """Load EmojiNet with the packaged weights, or those of a safetensors file of any width.

    Raises BenchError where the file is missing or holds something else.
    """
    return load_network(
        weights or packaged_weights(),
        "EmojiNet",
        lambda state: EmojiNet(
            *(len(state[key]) for key in ("scale1.0.weight", "head.weight", "names.weight"))
        ),
    )


def packaged_weights() -> Path:
    """Return where the package keeps the weights."""
    return Path(str(files("mpqbench.assets"))) / "features" / "emoji-net.safetensors"
