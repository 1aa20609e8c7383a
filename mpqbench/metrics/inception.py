"""Inception as the ADM evaluator uses it, and as clean-fid does, behind another resize.

The first is torch-fidelity's port of the network; clean-fid is an optional extra.
"""

from pathlib import Path

import numpy as np
import torch
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from ..core.errors import BenchError
from .features import SPATIAL_CHANNELS, FeatureNetwork, Outputs

# SHA-256 of the files whose features give an FID: the Inception of 2015-12-05 as torch-fidelity and
# pytorch-fid publish it (6726825d is in the file's name), and as NVIDIA does for clean-fid.
PUBLISHED = {
    "inception-adm": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "clean-fid": "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
}


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
        path = weights or _downloaded(URL_INCEPTION_V3, PUBLISHED[self.name])
        module = load_inception(path)
        module.Mixed_6d.branch1x1.register_forward_hook(
            lambda _module, _inputs, output: setattr(self, "_branch", output)
        )
        super().__init__(module, path, PUBLISHED[self.name], device)

    def prepare(self, images: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(images).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)

    def forward(self, inputs: torch.Tensor) -> Outputs:
        pooled, logits = self.module(inputs)
        spatial = self._branch[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)
        del self._branch
        return Outputs(pooled, spatial, logits)


def load_inception(path: Path) -> FeatureExtractorInceptionV3:
    """Load torch-fidelity's Inception from a file. Raises BenchError for another content."""
    try:
        torch.load(path, weights_only=True, map_location="cpu")  # refuses pickled code
        return FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], str(path))
    except Exception as error:  # pickle, zipfile and torch have no error in common
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BenchError(f"{path} does not hold Inception weights: {reason}") from None


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
            from cleanfid.downloads_helper import inception_url
            from cleanfid.resize import build_resizer
        except ImportError:
            raise BenchError(
                "the feature network clean-fid needs a package: in a clone of mpqbench, "
                "pip install '.[clean-fid]'"
            ) from None
        self._resize = build_resizer("clean")
        path = weights or _downloaded(inception_url, PUBLISHED[self.name])
        super().__init__(_load_clean(path), path, PUBLISHED[self.name], device)

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
    except Exception as error:  # for a file of another kind, as in ``load_inception``
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BenchError(f"{path} is not clean-fid's TorchScript Inception: {reason}") from None
    return module


def _downloaded(url: str, digest: str) -> Path:
    """Return the file of weights in PyTorch's cache, downloaded on first use and then checked."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: the download has another digest
        raise BenchError(
            f"the Inception weights {url} could not be downloaded ({error}): download them "
            "elsewhere and give the file with --feature-weights PATH"
        ) from None
    return path
