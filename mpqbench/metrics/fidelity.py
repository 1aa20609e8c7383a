"""Fidelity to full precision: image against image from the same noise and condition.

These metrics need no reference set and vary little between samples.
"""

import numpy as np
import torch
import torch.nn.functional as F

from ..core.errors import BenchError, Diverged

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
_RANGE = 255.0


class Fidelity:
    """Collect pairs of images batch by batch; one number per image and metric is kept."""

    def __init__(self) -> None:
        self._values: dict[str, list[np.ndarray]] = {"psnr": [], "ssim": [], "latent_mse": []}

    def add(
        self,
        images: np.ndarray,
        reference: np.ndarray,
        latents: np.ndarray | None = None,
        reference_latents: np.ndarray | None = None,
    ) -> None:
        """Add pairs of uint8 images (n, H, W, C) and, optionally, latents (n, ...).

        Raises BenchError where the two sides differ in shape or only one side, or only some
        batches, have latents; raises Diverged where a latent is not finite.
        """
        _same_images(images, reference)
        if (latents is None) != (reference_latents is None):
            raise BenchError("latents are compared in pairs: give those of both sides or of none")
        if self._values["psnr"] and bool(self._values["latent_mse"]) != (latents is not None):
            raise BenchError("either every batch comes with latents or none does")
        values = {"psnr": psnr(images, reference), "ssim": ssim(images, reference)}
        if latents is not None and reference_latents is not None:
            values["latent_mse"] = latent_mse(latents, reference_latents)
        for key, value in values.items():
            self._values[key].append(value)

    def means(self) -> dict[str, float]:
        """Return the mean PSNR in dB, SSIM and, where there are latents, latent MSE over all pairs.

        Raises BenchError where no pair was added.
        """
        if not self._values["psnr"]:
            raise BenchError("fidelity needs at least one pair of images")
        return {k: float(np.concatenate(v).mean()) for k, v in self._values.items() if v}


def latent_mse(latents: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the mean squared difference of each pair of latents (N, ...), float64 (N,).

    Raises BenchError for different shapes and Diverged where a latent is not finite.
    """
    if latents.shape != reference.shape:
        raise BenchError(f"latents {latents.shape} and {reference.shape} cannot be paired")
    errors = _mean_squares(latents, reference)
    if not np.isfinite(errors).all():
        first = int(np.flatnonzero(~np.isfinite(errors))[0])
        raise Diverged(f"the latent of image {first} of its batch is not finite")
    return errors


def psnr(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return 10 log10(255^2 / MSE) of each pair in dB, float64 (N,).

    Identical images count as if one value differed by one level, the smallest difference that uint8
    can show: 10 log10(255^2 H W C), which is 78 dB for 32x32 grey and 101 dB for 256x256 RGB. This
    is our choice; the mean stays finite and no other pair scores higher.
    """
    _same_images(images, reference)
    errors, smallest = _mean_squares(images, reference), 1.0 / images[0].size
    return 10.0 * np.log10(_RANGE**2 / np.maximum(errors, smallest))


def ssim(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each pair, float64 (N,) (Wang et al. 2004, eq. 13).

    The window is Gaussian, 11x11 with sigma 1.5, and lies inside the image; K1 = 0.01, K2 = 0.03,
    range 255. Values are averaged over positions and, our choice, over the channels of RGB.
    Raises BenchError for images smaller than the window.
    """
    _same_images(images, reference)
    if min(images.shape[1:3]) < _WINDOW:
        size = "x".join(str(side) for side in images.shape[1:3])
        raise BenchError(f"SSIM needs images of at least {_WINDOW}x{_WINDOW} pixels, not {size}")
    x, y = _planes(images), _planes(reference)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).reshape(len(images), -1).mean(dim=1).numpy()


def _mean_squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    difference = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return np.square(difference).reshape(len(one), -1).mean(axis=1)


def _planes(images: np.ndarray) -> torch.Tensor:
    """Make every channel an image of its own: (N, H, W, C) to float64 (N * C, 1, H, W)."""
    planes = torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2)
    return planes.reshape(-1, 1, *images.shape[1:3])


def _blur(planes: torch.Tensor) -> torch.Tensor:
    """Return the Gaussian-weighted mean in every window that lies inside the image."""
    offsets = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    rows = F.conv2d(planes, weights.view(1, 1, -1, 1))
    return F.conv2d(rows, weights.view(1, 1, 1, -1))


def _same_images(images: np.ndarray, reference: np.ndarray) -> None:
    for side in (images, reference):
        if side.dtype != np.uint8 or side.ndim != 4 or side.size == 0:
            raise BenchError(f"images are uint8 (N, H, W, C), not {side.dtype} {side.shape}")
    if images.shape != reference.shape:
        raise BenchError(f"images {images.shape} and {reference.shape} cannot be paired")
