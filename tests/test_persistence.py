"""How long an error keeps its direction: errors whose persistence is known."""

import numpy as np
import pytest

from tools.persistence import persistence


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
