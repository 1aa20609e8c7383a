import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mpqbench.baselines.transforms.awq import AWQ
from mpqbench.baselines.transforms.balance import Balance
from mpqbench.baselines.transforms.scaling import LARGEST, SMALLEST, Scaling, safe
from mpqbench.baselines.transforms.smooth import Smooth
from mpqbench.baselines.transforms.static_dynamic import StaticDynamic
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


@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize(
    "transform",
    [AWQ(grid=4), Balance(), Smooth("search", grid=2), *(Smooth(a) for a in (0.0, 0.5, 1.0))],
    ids=repr,
)
def test_outputs_stay_exact_with_dead_channels_and_an_outlier(transform, width):
    generator = torch.Generator().manual_seed(width)
    weight = torch.randn(8, width, generator=generator)
    inputs = torch.randn(4, 10, width, generator=generator) * torch.logspace(-1, 2, width)
    if width > 1:
        inputs[..., 2] = weight[:, 5] = inputs[..., 6] = weight[:, 6] = 0
        inputs[0, 7, 9] = 1e30
    x, maxima = inputs.flatten(0, 1), inputs.abs().amax(1)
    fitted = transform.fit(weight, LayerData("up", width, 8, inputs=x, step_maxima=maxima))
    expected, output = x @ weight.T, fitted.input(x) @ fitted.weight(weight).T
    assert ((output - expected).abs().amax(1) <= 1e-5 * expected.abs().amax(1)).all()


@pytest.mark.parametrize("transform", [Balance(), Smooth(), StaticDynamic()])
def test_missing_maxima_name_the_layer(transform):
    with pytest.raises(BenchError, match=r"layer up: .* calibrated maxima"):
        transform.fit(torch.ones(4, 4), LayerData("up", 4, 4))
