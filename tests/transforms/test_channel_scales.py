"""The scales of smooth, static-dynamic, balance and AWQ against their formulas."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mpqbench.baselines.transforms.awq import AWQ
from mpqbench.baselines.transforms.balance import Balance, rank_correlation
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.baselines.transforms.none import Identity
from mpqbench.baselines.transforms.smooth import Smooth, smoothing
from mpqbench.baselines.transforms.static_dynamic import StaticDynamic
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.layer_error import OutputError

W4A4 = Precision(4, 4)


def _layer(name="blocks.0.attn.qkv", width=24, precision=W4A4):
    generator = torch.Generator().manual_seed(width)
    weight = torch.randn(8, width, generator=generator)
    inputs = torch.randn(4, 10, width, generator=generator)
    inputs = inputs * torch.rand(4, 1, width, generator=generator).mul(4).exp()
    steps = {"step_maxima": inputs.abs().amax(1), "steps": torch.tensor([900, 600, 300, 0])}
    rows = inputs.flatten(0, 1)
    return weight, LayerData(name, width, 8, inputs=rows, precision=precision, seed=5, **steps)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_alpha_shares_the_maxima_between_weight_and_input(alpha):
    weight, data = _layer()
    fitted = Smooth(alpha).fit(weight, data)
    of_input, of_weight = data.inputs.abs().amax(0), weight.abs().amax(0)
    torch.testing.assert_close(fitted.scale, of_input**alpha / of_weight ** (1 - alpha))
    torch.testing.assert_close(fitted.input(data.inputs).abs().amax(0), of_input / fitted.scale)
    torch.testing.assert_close(fitted.weight(weight).abs().amax(0), of_weight * fitted.scale)


@pytest.mark.parametrize("precision", [W4A4, Precision(3, 8), Precision(None, 4)])
def test_the_searched_alpha_is_the_best_of_the_grid(precision):
    weight, data = _layer(precision=precision)
    error = OutputError(weight, data)
    largest = data.step_maxima.amax(0)
    errors = [error(smoothing(weight, largest, alpha)) for alpha in (0, 0.25, 0.5, 0.75, 1)]
    assert error(Smooth("search", grid=4).fit(weight, data)) == min(errors) < max(errors)


@pytest.mark.parametrize("noisiest", [1, 2, 4])
def test_scales_by_the_noisiest_steps_and_then_rotates(noisiest):
    weight, data = _layer()
    fitted = StaticDynamic(0.7, noisiest).fit(weight, data)
    largest = data.inputs.reshape(4, 10, 24)[:noisiest].abs().amax((0, 1))
    scale = smoothing(weight, largest, 0.7).scale
    rotation = Hadamard().fit(weight, data)
    assert torch.equal(fitted.input(data.inputs), rotation.input(data.inputs / scale))
    assert torch.equal(fitted.weight(weight), rotation.weight(weight * scale))
    size, turned = StaticDynamic().size("qkv", 24), Hadamard().size("qkv", 24)
    assert (size.smoothing.multiplications, size.smoothing.additions) == (24, 0)
    assert size.rotation == turned.rotation
    assert size.extra_bits == 16 * 24 + 24


def test_more_steps_than_calibrated_names_both_numbers():
    weight, data = _layer()
    with pytest.raises(BenchError, match=r"qkv: noisiest is 5 .* only 4 steps"):
        StaticDynamic(noisiest=5).fit(weight, data)


def _salience(weight: torch.Tensor, data: LayerData) -> torch.Tensor:
    """Weighted maxima of the steps, in float64 and with scipy's correlation."""
    maxima, column = data.step_maxima.double().numpy(), weight.abs().amax(0).double().numpy()
    weights = np.exp([-spearmanr(row, column).statistic for row in maxima])
    return torch.from_numpy(weights / weights.sum() @ maxima).float()


def test_both_saliences_become_their_geometric_mean():
    weight, data = _layer()
    fitted = Balance().fit(weight, data)
    of_input, of_weight = _salience(weight, data), weight.abs().amax(0)
    mean = (of_input * of_weight).sqrt()
    torch.testing.assert_close(of_input / fitted.scale, mean)
    torch.testing.assert_close(fitted.weight(weight).abs().amax(0), mean)


def test_steps_that_go_against_the_weight_count_more():
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    along, against = [1.0, 2.0, 3.0, 4.0], [8.0, 6.0, 4.0, 2.0]
    data = LayerData("layer", 4, 1, step_maxima=torch.tensor([along, against]))
    share = np.e / (np.e + 1 / np.e)  # softmax of (-1, 1)
    expected = torch.tensor(
        [((1 - share) * a + share * b) / w for a, b, w in zip(along, against, along, strict=True)]
    ).sqrt()
    torch.testing.assert_close(Balance().fit(weight, data).scale, expected)


def test_spearman_with_ties_against_scipy():
    rng = np.random.default_rng(1)
    rows, column = rng.integers(0, 4, (5, 40)), rng.integers(0, 4, 40)
    expected = [spearmanr(row, column).statistic for row in rows]
    np.testing.assert_allclose(rank_correlation(rows, column), expected, atol=1e-12)


def test_constant_sides_have_no_correlation():
    rows = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    assert rank_correlation(rows, np.array([1.0, 2.0, 3.0])) == pytest.approx([1.0, 0.0])
    assert rank_correlation(rows, np.ones(3)).tolist() == [0.0, 0.0]
    assert rank_correlation(rows[:, :1], np.ones(1)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("blocks.3.mlp.down", True),
        ("mlp.down", True),
        ("blocks.3.adaln", True),
        ("blocks.3.mlp.up", False),
        ("blocks.3.xmlp.down", False),
    ],
)
def test_the_paper_leaves_some_kinds_alone(name, skipped):
    weight, data = _layer(name)
    assert isinstance(Balance().fit(weight, data), Identity) == skipped
    assert not isinstance(Balance(skip=()).fit(weight, data), Identity)


def _spread(seed, spread=2.0, bits=3):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(24, 32, generator=generator)
    inputs = torch.randn(64, 32, generator=generator)
    inputs = inputs * torch.logspace(-spread / 2, spread / 2, 32)
    fmt = WeightFormat(granularity="group", group=8)
    return weight, LayerData(
        "layer", 32, 24, inputs=inputs, precision=Precision(bits, 4), weight_format=fmt
    )


def _error(weight, data, scale):
    """The paper's objective, written out: ``mean ||(Q(W s) / s - W) x||^2``."""
    rounded = quantize_weight(weight * scale, data.weight_format, 3, "").dequantize() / scale
    return float(((rounded - weight).double() @ data.inputs.double().T).square().sum(0).mean())


@pytest.mark.parametrize("seed", range(20))
def test_never_loses_to_no_scaling(seed):
    weight, data = _spread(seed)
    fitted = AWQ().fit(weight, data)
    own, plain = (_error(weight, data, s) for s in (fitted.scale, torch.ones(32)))
    assert own <= plain * (1 + 1e-5)


def test_scales_are_a_normalised_power_of_the_mean_and_the_best_of_the_grid():
    weight, data = _spread(1)
    fitted = AWQ(grid=4).fit(weight, data)
    mean = data.inputs.abs().mean(0)
    powers = [mean**a for a in (0, 0.25, 0.5, 0.75, 1)]
    candidates = [s / (s.max() * s.min()) ** 0.5 for s in powers]
    best = min(candidates, key=lambda scale: _error(weight, data, scale))
    torch.testing.assert_close(fitted.scale, best)
    assert not torch.equal(best, candidates[0])
    assert float(fitted.scale.max() * fitted.scale.min()) == pytest.approx(1)


def test_an_unrounded_weight_is_not_scaled():
    weight, data = _spread(2, bits=None)
    assert torch.equal(AWQ().fit(weight, data).scale, torch.ones(32))


def test_a_dead_channel_does_not_end_the_search():
    weight, data = _spread(0, spread=3.0)
    data.inputs[:, 4] = 0
    scale = AWQ().fit(weight, data).scale
    assert _error(weight, data, scale) < 0.8 * _error(weight, data, torch.ones(32))
