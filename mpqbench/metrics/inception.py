"""Inception as the ADM evaluator uses it, and as clean-fid does, behind another resize.

The first is torch-fidelity's port of the network; clean-fid is an optional extra.
"""

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
    path = None if weights is None else str(weights)
    try:
        if path is not None:
            torch.load(path, weights_only=True, map_location="cpu")  # refuses pickled code
        return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], path)
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


class CleanFidNetwork(FeatureNetwork):
    """Pooled features (2048) after clean-fid's ``clean`` resize: bicubic, not rounded.

    Grey images are repeated over three channels. Distances are labelled FID-clean: they cannot be
    compared with those of ``inception-adm``, and a reference must say that this network made it.
    """

    name = "clean-fid"
    dimension = 2048
    stamped_only = True

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        try:
            from cleanfid.resize import build_resizer
        except ImportError:
            raise BenchError(
                "the feature network clean-fid needs a package: in a clone of mpqbench, "
                "pip install '.[clean-fid]'"
            ) from None
        self._resize = build_resizer("clean")
        super().__init__(_load_clean(weights or _download_clean()), device)

    def prepare(self, images: np.ndarray) -> torch.Tensor:
        colour = np.broadcast_to(images, (*images.shape[:3], 3))
        resized = np.stack([self._resize(image) for image in colour])
        return torch.from_numpy(resized).permute(0, 3, 1, 2)

    def forward(self, inputs: torch.Tensor) -> Outputs:
        pooled = dict(self.module.named_children())["layers"]((inputs - 128) / 128)
        return Outputs(pooled.reshape(len(inputs), self.dimension))


def _load_clean(path: Path) -> torch.nn.Module:
    try:
        module = torch.jit.load(str(path), map_location="cpu")
        if "layers" not in dict(module.named_children()):
            raise ValueError("it has no 'layers'")
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BenchError(f"{path} is not clean-fid's TorchScript Inception: {reason}") from None
    return module


def _download_clean() -> Path:
    """Return clean-fid's weights in PyTorch's cache, downloaded on first use in one step."""
    from cleanfid.downloads_helper import inception_url

    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(inception_url).name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(inception_url, str(path), progress=False)
    except OSError as error:
        raise BenchError(
            f"clean-fid's Inception could not be downloaded ({error}): "
            "download it elsewhere and give the file with --feature-weights PATH"
        ) from None
    return path
