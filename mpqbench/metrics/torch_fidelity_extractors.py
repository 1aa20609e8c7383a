"""Our feature networks as torch-fidelity feature extractors, for its own metrics and commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch_fidelity import (
    FeatureExtractorBase,
    FeatureExtractorInceptionV3,
    register_feature_extractor,
)
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from .fashion_net import SPATIAL_CHANNELS, fashion_input, load_fashion_net

INCEPTION = "mpqbench-inception-adm"
FASHION = "mpqbench-fashion"


class InceptionADM(FeatureExtractorInceptionV3):
    """torch-fidelity's Inception with one more feature, ``spatial`` (N, 2023), for sFID.

    TensorFlow's mixed_6/conv is the 1x1 branch of Mixed_6d after its ReLU; the ADM evaluator takes
    7 channels of it and flattens them in NHWC order.
    """

    def __init__(self, name: str, features_list: list[str], **options: Any) -> None:
        self.features_list: list[str]
        super().__init__(name, features_list, **options)
        self._spatial = torch.empty(0)
        self.Mixed_6d.branch1x1.register_forward_hook(self._keep_spatial)

    def _keep_spatial(self, module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        channels_last = output[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1)
        self._spatial = channels_last.flatten(1).float()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features in the order of ``features_list`` of uint8 images (N, 3, H, W)."""
        wanted = self.features_list
        # The pooled features are always asked for: shallow ones alone would stop before Mixed_6d.
        self.features_list = [f for f in wanted if f not in ("spatial", "2048")] + ["2048"]
        try:
            found = dict(zip(self.features_list, super().forward(images), strict=True))
        finally:
            self.features_list = wanted
        found["spatial"] = self._spatial
        self._spatial = torch.empty(0)
        return tuple(found[feature] for feature in wanted)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return (*FeatureExtractorInceptionV3.get_provided_features_list(), "spatial")

    @staticmethod
    def can_be_compiled() -> bool:
        return False  # the hook is a side effect


class FashionExtractor(FeatureExtractorBase):
    """FashionNet on uint8 images (N, 1 or 3, 32, 32): ``pooled``, ``spatial``, ``logits``."""

    def __init__(
        self,
        name: str,
        features_list: list[str],
        feature_extractor_weights_path: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, features_list)
        path = feature_extractor_weights_path
        self.network = load_fashion_net(None if path is None else Path(path))
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.network(fashion_input(images))._asdict()
        return tuple(found[feature] for feature in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "pooled", "spatial", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return {"isc": "logits", "fid": "pooled", "kid": "pooled", "prc": "pooled"}[metric]

    @staticmethod
    def can_be_compiled() -> bool:
        return False  # whether three channels are equal is known only at run time


def register_extractors() -> None:
    """Makes both known to torch-fidelity by name. Calling it again changes nothing."""
    for name, extractor in ((INCEPTION, InceptionADM), (FASHION, FashionExtractor)):
        if name not in FEATURE_EXTRACTORS_REGISTRY:
            register_feature_extractor(name, extractor)
