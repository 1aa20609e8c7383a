"""What the tools measure of errors and latents, where the answer is known."""

import numpy as np
import pytest
from scipy.fft import dctn, idctn

from tools.persistence import persistence
from tools.shrinkage import BANDS, band_of, gains


def test_gains_and_noise_that_were_planted_are_found():
    rng = np.random.default_rng(0)
    full = rng.standard_normal((400, 4, 8, 8))
    kept = np.array([1.0, 0.98, 0.95, 0.9, 0.7])[band_of(8, 8)]
    own = idctn(kept * dctn(full, axes=(2, 3), norm="ortho"), axes=(2, 3), norm="ortho")
    planted = [0, -0.02, -0.05, -0.1, -0.3]
    exact = gains(own + 3, full)  # what all have in common is no structure
    assert [gain for gain, _, _ in exact] == pytest.approx(planted)
    assert [rest for _, _, rest in exact] == pytest.approx([0] * BANDS, abs=1e-12)
    found = gains(own + 0.2 * rng.standard_normal(full.shape), full)
    for (gain, half, rest), wanted in zip(found, planted, strict=True):
        assert abs(gain - wanted) < 1.5 * half
        assert 0 < half < 0.03
        assert rest == pytest.approx(0.04, rel=0.1)


@pytest.mark.parametrize("later", [1, 2, 3])
def test_an_error_that_turns_by_an_angle_at_every_step(later):
    angle, steps, images = 0.3, 12, 5
    turns = angle * np.arange(steps)[:, None] + np.arange(images)
    sizes = np.random.default_rng(0).uniform(1, 9, (steps, images, 1))
    error = sizes * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    mean, half = persistence(error, later)
    assert mean == pytest.approx(np.cos(angle * later))
    assert half == pytest.approx(0, abs=1e-12)


def test_an_error_that_is_drawn_anew_at_every_step():
    error = np.random.default_rng(0).standard_normal((20, 50, 256))
    mean, half = persistence(error, 1)
    # The cosine of independent normal vectors of n dimensions has a standard deviation of n^-1/2.
    assert half == pytest.approx(1.96 / (256 * 19 * 50) ** 0.5, rel=0.4)
    assert abs(mean) < 3 * half
