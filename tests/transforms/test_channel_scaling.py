from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mpqbench.baselines.transforms.scaling import LARGEST, SMALLEST, Scaling, safe, step_maxima
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError

ANY = arrays(np.float32, 6, elements=st.floats(width=32))
HUGE = float(np.float32(1e30))
ENTRIES = arrays(np.float32, (3, 6), elements=st.floats(-HUGE, HUGE, width=32))


@given(scale=ANY, x=ENTRIES, weight=ENTRIES)
@settings(deadline=None)
def test_any_scale_leaves_every_product_as_it_was(scale, x, weight):
    fitted = Scaling(torch.from_numpy(scale))
    x, weight = torch.from_numpy(x), torch.from_numpy(weight)
    moved, scaled = fitted.input(x), fitted.weight(weight)
    assert moved.isfinite().all()
    assert scaled.isfinite().all()
    got = moved.double()[:, None] * scaled.double()
    expected = x.double()[:, None] * weight.double()
    # Numbers that a scale makes denormal lose digits that are far below those of any sum.
    lost = 1e-37 * (1 + moved.double().abs()[:, None] + scaled.double().abs())
    assert ((got - expected).abs() <= 1e-6 * expected.abs() + lost).all()


@given(scale=ANY)
@settings(deadline=None)
def test_scales_are_bounded_and_good_ones_kept(scale):
    given_scale = torch.from_numpy(scale)
    ours = safe(given_scale)
    assert ((ours >= SMALLEST) & (ours <= LARGEST)).all()
    good = (given_scale >= SMALLEST) & (given_scale <= LARGEST)
    assert torch.equal(ours[good], given_scale[good])


@pytest.mark.parametrize("dead", [0.0, -1.0, float("inf"), float("nan")])
def test_dead_channels_get_the_geometric_mean_of_the_others(dead):
    assert safe(torch.tensor([2.0, dead, 8.0])).tolist() == pytest.approx([2.0, 4.0, 8.0])
    assert safe(torch.tensor([dead, dead])).tolist() == [1.0, 1.0]


def test_cost_and_buffers():
    fitted = Scaling(torch.ones(12))
    assert (fitted.macs_per_token, fitted.extra_bits) == (12, 192)
    assert fitted.to("meta").scale.is_meta


def test_missing_maxima_name_the_layer():
    with pytest.raises(BenchError, match=r"layer up: .* calibrated maxima"):
        step_maxima(LayerData("up", 4, 4))
