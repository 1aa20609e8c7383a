"""Inception as the ADM evaluator uses it, through torch-fidelity's port of the network."""

import pickle
from pathlib import Path

import numpy as np
import torch
from torch_fidelity import FeatureExtractorInceptionV3

from ..core.errors import BenchError
from .features import SPATIAL_CHANNELS, FeatureNetwork, Outputs


class InceptionNetwork(FeatureNetwork):
    """The Inception of 2015-12-05 with TensorFlow 1's resize; grey images fill three channels.

    Features are those of the ADM evaluator. pooled: ``pool_3``, 2048. spatial: the first 7 channels
    of ``mixed_6/conv`` in NHWC order, 2023; torch-fidelity calls that layer the 1x1 branch of
    ``Mixed_6d``, taken after its ReLU. logits: 1008 classes, without bias.
    """

    name = "inception-adm"
    dimension = 2048
    spatial_dimension = SPATIAL_CHANNELS * 17 * 17
    _branch: torch.Tensor

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        module = load_inception(weights)
        module.Mixed_6d.branch1x1.register_forward_hook(
            lambda _module, _inputs, output: setattr(self, "_branch", output)
        )
        super().__init__(module, device)

    def prepare(self, images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(images).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)

    def forward(self, inputs: torch.Tensor) -> Outputs:
        pooled, logits = self.module(inputs)
        spatial = self._branch[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        del self._branch
        return Outputs(pooled, spatial, logits)


def load_inception(weights: Path | None = None) -> FeatureExtractorInceptionV3:
    """Load torch-fidelity's Inception, without ``weights`` by download. Raises BenchError."""
    options = {}
    try:
        if weights is not None:
            torch.load(weights, weights_only=True, map_location="cpu")  # refuses pickled code
            options["feature_extractor_weights_path"] = str(weights)
        return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], **options)
    except (
        OSError, EOFError, RuntimeError, AttributeError, TypeError, ValueError,
        pickle.UnpicklingError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:200]
        if weights is not None:
            raise BenchError(f"{weights} does not hold Inception weights: {reason}") from None
        raise BenchError(
            f"the Inception weights could not be downloaded ({reason}): "
            "download them elsewhere and give the file with --feature-weights PATH"
        ) from None
