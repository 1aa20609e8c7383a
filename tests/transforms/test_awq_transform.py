import pytest
import torch

from mpqbench.baselines.transforms.awq import AWQ
from mpqbench.contracts import LayerData
from mpqbench.core.formats import WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.quant.affine import quantize_weight


def _layer(seed: int, spread: float = 2.0, bits: int | None = 3) -> tuple[torch.Tensor, LayerData]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(24, 32, generator=generator)
    inputs = torch.randn(64, 32, generator=generator)
    inputs = inputs * torch.logspace(-spread / 2, spread / 2, 32)
    fmt = WeightFormat(granularity="group", group=8)
    return weight, LayerData(
        "layer", 32, 24, inputs=inputs, precision=Precision(bits, 4), weight_format=fmt
    )


def _error(weight: torch.Tensor, data: LayerData, scale: torch.Tensor) -> float:
    """The paper's objective, written out: ``mean ||(Q(W s) / s - W) x||^2``."""
    rounded = quantize_weight(weight * scale, data.weight_format, 3, "").dequantize() / scale
    return float(((rounded - weight).double() @ data.inputs.double().T).square().sum(0).mean())


@pytest.mark.parametrize("seed", range(20))
def test_never_loses_to_no_scaling(seed):
    weight, data = _layer(seed)
    fitted = AWQ().fit(weight, data)
    own, plain = (_error(weight, data, s) for s in (fitted.scale, torch.ones(32)))
    assert own <= plain * (1 + 1e-5)


def test_scales_are_a_normalised_power_of_the_mean_and_the_best_of_the_grid():
    weight, data = _layer(1)
    fitted = AWQ(grid=4).fit(weight, data)
    mean = data.inputs.abs().mean(0)
    powers = [mean**a for a in (0, 0.25, 0.5, 0.75, 1)]
    candidates = [s / (s.max() * s.min()) ** 0.5 for s in powers]
    best = min(candidates, key=lambda scale: _error(weight, data, scale))
    torch.testing.assert_close(fitted.scale, best)
    assert not torch.equal(best, candidates[0])
    assert float(fitted.scale.max() * fitted.scale.min()) == pytest.approx(1)


def test_an_unrounded_weight_is_not_scaled():
    weight, data = _layer(2, bits=None)
    assert torch.equal(AWQ().fit(weight, data).scale, torch.ones(32))


def test_a_dead_channel_does_not_end_the_search():
    weight, data = _layer(0, spread=3.0)
    data.inputs[:, 4] = 0
    scale = AWQ().fit(weight, data).scale
    assert _error(weight, data, scale) < 0.8 * _error(weight, data, torch.ones(32))
