import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mpqbench.core.errors import BenchError, Diverged
from mpqbench.metrics.fidelity import latent_mse, psnr, ssim


def pairs(channels):
    rng = np.random.default_rng(0)
    images = np.kron(rng.integers(0, 256, (4, 5, 6, channels)), np.ones((1, 4, 4, 1)))
    other = images + rng.normal(0, 25.0, images.shape)
    return images.astype(np.uint8), other.clip(0, 255).astype(np.uint8)


def slow_ssim(image, other):
    """One channel with scipy's Gaussian filter, cut to the same 11x11 window."""

    def blur(plane):
        return gaussian_filter(plane, sigma=1.5, truncate=3.5)[5:-5, 5:-5]

    x, y = image.astype(np.float64), other.astype(np.float64)
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 2.55**2, 7.65**2
    return np.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))


@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_that_of_an_independent_computation(channels):
    images, other = pairs(channels)
    expected = [
        np.mean([slow_ssim(a[:, :, c], b[:, :, c]) for c in range(channels)])
        for a, b in zip(images, other, strict=True)
    ]
    np.testing.assert_allclose(ssim(images, other), expected, rtol=1e-9)
    assert 0.1 < min(expected) < max(expected) < 0.99
    np.testing.assert_allclose(ssim(images, images), 1.0)
    assert (ssim(images, 255 - images) < 0).all()


def test_psnr_of_known_differences():
    images = np.full((2, 12, 12, 3), 100, dtype=np.uint8)
    np.testing.assert_allclose(psnr(images, images + 10), 20 * np.log10(25.5))
    dark, bright = np.zeros((1, 32, 32, 1), np.uint8), np.full((1, 32, 32, 1), 255, np.uint8)
    assert psnr(dark, bright)[0] == pytest.approx(0.0)
    assert psnr(bright, dark)[0] == pytest.approx(0.0)  # uint8 does not wrap around
    touched = dark.copy()
    touched[0, 0, 0, 0] = 1
    assert psnr(dark, dark)[0] == psnr(dark, touched)[0]  # the smallest difference
    assert psnr(dark, dark)[0] == pytest.approx(78.23, abs=0.01)


def test_latents_are_compared_pair_by_pair():
    latents, moved = np.random.default_rng(5).normal(size=(2, 4, 2, 3, 3)).astype(np.float32)
    expected = np.mean((latents - moved) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(latent_mse(latents, moved), expected, rtol=1e-5)
    latents[1, 0] = np.nan
    with pytest.raises(Diverged, match="image 1"):
        latent_mse(latents, moved)


def test_mistakes_are_named():
    images, other = pairs(1)
    for metric in (psnr, latent_mse):
        with pytest.raises(BenchError, match="cannot be paired"):
            metric(images, other[:3])
    with pytest.raises(BenchError, match="at least 11x11 pixels, not 10x24"):
        ssim(images[:, :10], other[:, :10])
