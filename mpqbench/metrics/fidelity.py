"""Fidelity to full precision: image against image from the same noise and condition.

These metrics need no reference set and vary little between samples. Images are uint8
(N, H, W, C); all functions raise BenchError where the two sides differ in shape.
"""

import numpy as np
import torch
import torch.nn.functional as F

from ..core.errors import BenchError, Diverged
from .images import size_text

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03
_RANGE = 255.0


def latent_mse(latents: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the mean squared difference of latents (N, ...), float64 (N,). Raises Diverged."""
    errors = _mean_squares(latents, reference)
    if not np.isfinite(errors).all():
        first = int(np.flatnonzero(~np.isfinite(errors))[0])
        raise Diverged(f"the latent of image {first} of its batch is not finite")
    return errors


def psnr(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return 10 log10(255^2 / MSE) of each pair of images in dB, float64 (N,).

    Identical images count as if one value differed by one level (our choice, so that the mean stays
    finite): 78 dB for 32x32 grey and 101 dB for 256x256 RGB.
    """
    errors, smallest = _mean_squares(images, reference), 1.0 / images[0].size
    return 10.0 * np.log10(_RANGE**2 / np.maximum(errors, smallest))


def ssim_missing(shape: tuple[int, ...]) -> str | None:
    """Return a sentence where images of ``shape`` (H, W, C) are too small for SSIM's window."""
    if min(shape[:2]) >= _WINDOW:
        return None
    size, window = size_text(shape[:2]), size_text((_WINDOW, _WINDOW))
    return f"SSIM is left out: it needs images of at least {window} pixels, not {size}"


def ssim(images: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each pair, float64 (N,) (Wang et al. 2004, eq. 13).

    The window is Gaussian, 11x11 with sigma 1.5, and lies inside the image; K1 = 0.01, K2 = 0.03,
    range 255. Values are averaged over positions and, our choice, over the channels of RGB.
    Raises BenchError for images smaller than the window.
    """
    if (problem := ssim_missing(images.shape[1:])) is not None:
        raise BenchError(problem)
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
    if one.shape != other.shape:
        raise BenchError(f"{one.shape} and {other.shape} cannot be paired")
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
