"""The feature network of clean-fid, an optional extra: the same Inception behind another resize."""

from pathlib import Path

import numpy as np
import torch

from ..core.errors import BenchError
from .features import FeatureNetwork, Outputs


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
                "the feature network clean-fid needs a package: pip install 'mpqbench[clean-fid]'"
            ) from None
        self._resize = build_resizer("clean")
        super().__init__(_load(weights or _download()), device)

    def prepare(self, images: np.ndarray) -> torch.Tensor:
        colour = np.broadcast_to(images, (*images.shape[:3], 3))
        resized = np.stack([self._resize(image) for image in colour])
        return torch.from_numpy(resized).permute(0, 3, 1, 2)

    def forward(self, inputs: torch.Tensor) -> Outputs:
        pooled = dict(self.module.named_children())["layers"]((inputs - 128) / 128)
        return Outputs(pooled.reshape(len(inputs), self.dimension))


def _load(path: Path) -> torch.nn.Module:
    try:
        module = torch.jit.load(str(path), map_location="cpu")
        if "layers" not in dict(module.named_children()):
            raise ValueError("it has no 'layers'")
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BenchError(f"{path} is not clean-fid's TorchScript Inception: {reason}") from None
    return module


def _download() -> Path:
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
