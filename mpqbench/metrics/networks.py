"""The feature networks: FashionNet, and Inception as the ADM evaluator uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..core.errors import BenchError
from .fashion_net import fashion_input, load_fashion_net
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
