"""LPIPS: how different two images look, by the features of AlexNet (arXiv 1801.03924).

The network and the weights of its linear layers are torchmetrics', an optional extra; the weights
of AlexNet are a file of the user's.
"""

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from safetensors.torch import load_file

from ..core.errors import BenchError
from ..core.packages import check_package
from .features import exact_float32, usable_device, weights_digest
from .images import size_text

SMALLEST = 31  # pixels of a side: AlexNet's second pooling then has one window
_BATCH = 10  # pairs, which bounds the memory for large images


def lpips_missing(shape: tuple[int, ...]) -> str | None:
    """Return a sentence where images of ``shape`` (H, W, C) are too small for AlexNet."""
    if min(shape[:2]) >= SMALLEST:
        return None
    size, smallest = size_text(shape[:2]), size_text((SMALLEST, SMALLEST))
    return f"LPIPS is left out: it needs images of at least {smallest} pixels, not {size}"


class PerceptualDistance:
    """LPIPS version 0.1 with AlexNet, as torchmetrics computes it.

    ``digest`` is that of all weights, whatever their file. Raises BenchError where the package
    ``torchmetrics`` is missing and where ``weights`` does not hold AlexNet: torchvision's
    ``alexnet-owt-7be5be79.pth``, or safetensors with the same names (``features.0.weight``, ...).
    """

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        check_package("torchmetrics", "--lpips-weights")
        from torchmetrics.functional.image.lpips import _NoTrainLpips

        with torch.random.fork_rng(devices=[]):  # AlexNet's weights are drawn, then replaced
            network = _NoTrainLpips(net="alex", pnet_rand=True)
        network.net.load_state_dict(_alexnet(weights, network.net.state_dict()))
        self.digest = weights_digest(network)
        self.device = usable_device(device)
        self.network = network.to(self.device)

    def distances(self, images: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Return the LPIPS of each pair of uint8 images (N, H, W, C), float64 (N,), 0 if equal.

        Features are divided by their norm over channels, their squared differences are weighted by
        the linear layers, averaged over positions and added up over five layers (equation 1).
        Grey images are repeated over three channels (our choice). In float32 without TF32; the last
        batch is filled up with black images, so that a value does not depend on how many follow.
        Raises BenchError for images that are too small or cannot be paired.
        """
        if images.shape != reference.shape:
            raise BenchError(f"{images.shape} and {reference.shape} cannot be paired")
        if (problem := lpips_missing(images.shape[1:])) is not None:
            raise BenchError(problem)
        found = [
            self._batch(images[at : at + _BATCH], reference[at : at + _BATCH])
            for at in range(0, len(images), _BATCH)
        ]
        return np.concatenate(found)

    def _batch(self, *sides: np.ndarray) -> np.ndarray:
        filled = []
        for images in sides:
            inputs = torch.zeros(_BATCH, 3, *images.shape[1:3])
            inputs[: len(images)] = torch.from_numpy(images).permute(0, 3, 1, 2)
            filled.append((inputs / 127.5 - 1.0).to(self.device))
        with torch.inference_mode(), exact_float32():
            values = self.network(*filled).flatten()[: len(sides[0])]
        return values.double().cpu().numpy()


def _alexnet(path: Path, like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of AlexNet's convolutions in ``path`` under the names of ``like``."""
    if not path.is_file():
        raise BenchError(
            f"--lpips-weights {path} is no file: give torchvision's alexnet-owt-7be5be79.pth"
        )
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, weights_only=True, map_location="cpu")  # no pickled code
        names = {name: f"features.{name.partition('.')[2]}" for name in like}
        for name, theirs in names.items():
            if theirs not in state:
                raise ValueError(f"it lacks {theirs}")
            if state[theirs].shape != like[name].shape:
                shapes = f"{list(state[theirs].shape)}, not {list(like[name].shape)}"
                raise ValueError(f"{theirs} has shape {shapes}")
            if not state[theirs].isfinite().all():
                raise ValueError(f"{theirs} holds NaN or infinite numbers")
    except Exception as error:  # pickle, zipfile, safetensors and torch have no error in common
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if isinstance(error, UnpicklingError):  # whose text is advice to load pickled code
            reason = "it is no file of tensors alone"
        raise BenchError(
            f"--lpips-weights {path} does not hold torchvision's AlexNet: {reason}"
        ) from None
    return {name: state[theirs] for name, theirs in names.items()}
