from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mpqbench.core.errors import BenchError, Diverged
from mpqbench.metrics.fidelity import Fidelity, latent_mse, psnr, ssim


def pairs(channels, seed=0, noise=25.0):
    rng = np.random.default_rng(seed)
    images = np.kron(rng.integers(0, 256, (4, 5, 6, channels)), np.ones((1, 4, 4, 1)))
    other = images + rng.normal(0, noise, images.shape)
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
def test_ssim_matches_an_independent_computation(channels):
    images, other = pairs(channels)
    expected = [
        np.mean([slow_ssim(a[:, :, c], b[:, :, c]) for c in range(channels)])
        for a, b in zip(images, other, strict=True)
    ]
    np.testing.assert_allclose(ssim(images, other), expected, rtol=1e-9)
    assert 0.1 < min(expected) < max(expected) < 0.99


def test_ssim_of_equal_and_of_inverted_images():
    images, _ = pairs(1)
    np.testing.assert_allclose(ssim(images, images), 1.0)
    assert (ssim(images, 255 - images) < 0).all()


def test_psnr_of_a_constant_difference():
    images = np.full((2, 12, 12, 3), 100, dtype=np.uint8)
    np.testing.assert_allclose(psnr(images, images + 10), 20 * np.log10(25.5))
    dark, bright = np.zeros((1, 4, 4, 1), np.uint8), np.full((1, 4, 4, 1), 255, np.uint8)
    assert psnr(dark, bright)[0] == pytest.approx(0.0)
    assert psnr(bright, dark)[0] == pytest.approx(0.0)  # uint8 does not wrap around


def test_psnr_of_identical_images_is_that_of_the_smallest_difference():
    images = np.zeros((1, 32, 32, 1), dtype=np.uint8)
    touched = images.copy()
    touched[0, 0, 0, 0] = 1
    assert psnr(images, images)[0] == psnr(images, touched)[0]
    assert psnr(images, images)[0] == pytest.approx(78.23, abs=0.01)


def test_batches_do_not_change_the_means():
    images, other = pairs(3)
    rng = np.random.default_rng(5)
    latents, moved = rng.normal(size=(2, 4, 2, 3, 3)).astype(np.float32)
    whole, parts = Fidelity(), Fidelity()
    whole.add(images, other, latents, moved)
    parts.add(images[:3], other[:3], latents[:3], moved[:3])
    parts.add(images[3:], other[3:], latents[3:], moved[3:])
    means = whole.means()
    assert parts.means() == pytest.approx(means, rel=1e-12)
    assert means["psnr"] == pytest.approx(psnr(images, other).mean())
    assert means["ssim"] == pytest.approx(ssim(images, other).mean())
    assert means["latent_mse"] == pytest.approx(np.mean((latents - moved) ** 2), rel=1e-5)


def test_mistakes_are_named():
    images, other = pairs(1)
    latents = np.zeros((4, 2), dtype=np.float32)
    fidelity = Fidelity()
    with pytest.raises(BenchError, match="at least one pair"):
        fidelity.means()
    with pytest.raises(BenchError, match="cannot be paired"):
        fidelity.add(images, other[:3])
    with pytest.raises(BenchError, match="both sides or of none"):
        fidelity.add(images, other, latents)
    with pytest.raises(BenchError, match="float32"):
        fidelity.add(images, other.astype(np.float32))
    with pytest.raises(BenchError, match="latents"):
        fidelity.add(images, other, latents, latents[:3])
    fidelity.add(images, other)
    with pytest.raises(BenchError, match="every batch"):
        fidelity.add(images, other, latents, latents)
    assert fidelity.means() == {
        "psnr": psnr(images, other).mean(),
        "ssim": ssim(images, other).mean(),
    }
    small = np.zeros((1, 10, 32, 1), dtype=np.uint8)
    with pytest.raises(BenchError, match="at least 11x11 pixels, not 10x32"):
        ssim(small, small)
    broken = latents.copy()
    broken[1, 0] = np.nan
    with pytest.raises(Diverged, match="image 1"):
        latent_mse(broken, latents)
