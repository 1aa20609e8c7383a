"""Gradients of rounding: straight-through, and those of LSQ against its published formulas."""

import pytest
import torch

from mpqbench.quant.trainable import fake_quantize_lsq


def gradients(value, scale, zero, lowest, highest):
    """(output, d/dv, d/ds) at one number, in float64."""
    v, s = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (value, scale))
    y = fake_quantize_lsq(v, s, torch.tensor(float(zero)), lowest, highest)
    y.backward()
    return y.item(), v.grad.item(), s.grad.item()


@pytest.mark.parametrize("value", [-0.9, -0.31, 0.0, 0.2, 0.74])
def test_inside_the_range_lsq_gives_round_minus_value(value):
    # Equation 3 of arXiv 1902.08153 with s = 0.25 and integers from -4 to 3.
    y, by_value, by_scale = gradients(value, 0.25, 0, -4, 3)
    assert y == pytest.approx(0.25 * round(value / 0.25))
    assert by_value == 1
    assert by_scale == pytest.approx(round(value / 0.25) - value / 0.25)


@pytest.mark.parametrize(("value", "end"), [(-3.0, -4), (2.0, 3)])
def test_outside_the_range_values_get_no_gradient_and_the_scale_gets_the_end(value, end):
    assert gradients(value, 0.25, 0, -4, 3) == (0.25 * end, 0, end)


def test_zero_points_shift_the_ends():
    # Integers 0 to 7 around zero point 2 are the numbers -2 s to 5 s.
    assert gradients(9.0, 0.5, 2, 0, 7) == (2.5, 0, 5)
    assert gradients(-9.0, 0.5, 2, 0, 7) == (-1.0, 0, -2)
    y, by_value, by_scale = gradients(0.6, 0.5, 2, 0, 7)
    assert (y, by_value) == (0.5, 1)
    assert by_scale == pytest.approx(1 - 1.2)
