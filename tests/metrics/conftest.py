"""Small seeded random networks and images: no test here needs the packaged assets."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mpqbench.metrics.fashion_net import FashionNet
from mpqbench.metrics.features import load_extractor


@pytest.fixture(scope="session")
def fashion_weights(tmp_path_factory):
    """A FashionNet of width 4 (16 pooled features) with spread-out random weights."""
    torch.manual_seed(0)
    network = FashionNet(width=4)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return path


@pytest.fixture
def extractor(fashion_weights):
    return load_extractor("fashion", fashion_weights)


def grey_images(count: int, seed: int, brightness: float = 128.0) -> np.ndarray:
    """Smooth random grey images (count, 32, 32, 1)."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(brightness, 60.0, (count, 8, 8, 1))
    fine = np.kron(coarse, np.ones((1, 4, 4, 1))) + rng.normal(0.0, 10.0, (count, 32, 32, 1))
    return fine.clip(0, 255).astype(np.uint8)


@pytest.fixture
def make_images():
    return grey_images
