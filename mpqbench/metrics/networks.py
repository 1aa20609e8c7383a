"""The feature networks: FashionNet, and Inception as the ADM evaluator uses it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import torch

from ..errors import BenchError
from .fashion_net import FashionNet
from .features import FeatureNetwork, Outputs


class FashionNetwork(FeatureNetwork):
    """FashionNet: 4 x width pooled features, 448 spatial ones, logits of 10 classes."""

    name = "fashion"
    has_logits = True
    image_shape = (32, 32, 1)

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        network = load_fashion_net(weights)
        self.dimension = 4 * network.width
        with torch.inference_mode():
            blank = network.eval()(torch.zeros(1, 1, 32, 32))
        self.spatial_dimension = blank.spatial.shape[1]
        super().__init__(network, device)

    def prepare(self, images: np.ndarray) -> torch.Tensor:
        return fashion_input(torch.from_numpy(images).permute(0, 3, 1, 2))

    def forward(self, inputs: torch.Tensor) -> Outputs:
        return tuple(self.module(inputs))


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


class InceptionNetwork(FeatureNetwork):
    """Inception of 2015-12-05 with its TensorFlow 1 resize, through torch-fidelity.

    pooled: pool_3, 2048. spatial: the first 7 channels of mixed_6/conv in NHWC order, 2023.
    logits: without bias, 1008 classes. All as in the ADM evaluator. Grey images are repeated over
    three channels.
    """

    name = "inception-adm"
    dimension = 2048
    spatial_dimension = 2023
    has_logits = True

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        super().__init__(load_inception(weights), device)

    def prepare(self, images: np.ndarray) -> torch.Tensor:
        channels = torch.from_numpy(images).permute(0, 3, 1, 2)
        return channels.expand(-1, 3, -1, -1)

    def forward(self, inputs: torch.Tensor) -> Outputs:
        return self.module(inputs)


def load_inception(weights: Path | None = None) -> torch.nn.Module:
    """``InceptionADM`` giving pooled, spatial and unbiased logits.

    Without ``weights``, torch-fidelity takes its cached weights or downloads them.
    Raises BenchError where the download fails or the file does not fit.
    """
    from .torch_fidelity_extractors import INCEPTION, InceptionADM

    options = {}
    if weights is not None:
        _refuse_code(weights)
        options["feature_extractor_weights_path"] = str(weights)
    try:
        return InceptionADM(INCEPTION, ["2048", "spatial", "logits_unbiased"], **options)
    except (OSError, RuntimeError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        if weights is not None:
            raise BenchError(f"{weights} does not hold Inception weights: {reason}") from None
        raise BenchError(
            f"the Inception weights could not be downloaded ({reason}): "
            "fetch them elsewhere and give the file with --feature-weights PATH"
        ) from None


def _refuse_code(path: Path) -> None:
    """Raises BenchError unless the file is plain tensors: torch-fidelity would run pickled code."""
    import pickle

    try:
        torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"{path} is not a file of plain PyTorch tensors: {reason}") from None
