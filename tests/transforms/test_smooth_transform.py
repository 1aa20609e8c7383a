from __future__ import annotations

import pytest
import torch

from mpqbench.baselines.transforms.smooth import Smooth, smoothing
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Precision
from mpqbench.quant.layer_error import OutputError

W4A4 = Precision(4, 4)


def _layer(width: int = 16, precision: Precision = W4A4) -> tuple[torch.Tensor, LayerData]:
    generator = torch.Generator().manual_seed(width)
    weight = torch.randn(8, width, generator=generator)
    inputs = torch.randn(40, width, generator=generator) * torch.logspace(-1, 2, width)
    maxima = inputs.reshape(4, 10, width).abs().amax(1)
    data = LayerData("layer", width, 8, inputs=inputs, step_maxima=maxima, precision=precision)
    return weight, data


def test_alpha_zero_takes_all_from_the_weight():
    weight, data = _layer()
    fitted = Smooth(0.0).fit(weight, data)
    torch.testing.assert_close(fitted.scale, 1 / weight.abs().amax(0))
    torch.testing.assert_close(fitted.weight(weight).abs().amax(0), torch.ones(16))


def test_alpha_one_takes_all_from_the_input():
    weight, data = _layer()
    fitted = Smooth(1.0).fit(weight, data)
    torch.testing.assert_close(fitted.scale, data.inputs.abs().amax(0))
    torch.testing.assert_close(fitted.input(data.inputs).abs().amax(0), torch.ones(16))


def test_alpha_half_makes_both_maxima_equal():
    weight, data = _layer()
    fitted = Smooth().fit(weight, data)
    moved, scaled = fitted.input(data.inputs), fitted.weight(weight)
    torch.testing.assert_close(moved.abs().amax(0), scaled.abs().amax(0))


@pytest.mark.parametrize("precision", [W4A4, Precision(3, 8), Precision(None, 4)])
def test_the_searched_alpha_is_the_best_of_the_grid(precision):
    weight, data = _layer(precision=precision)
    error = OutputError(weight, data)
    largest = data.step_maxima.amax(0)
    errors = [error(smoothing(weight, largest, alpha)) for alpha in (0, 0.25, 0.5, 0.75, 1)]
    assert error(Smooth("search", grid=4).fit(weight, data)) == min(errors) < max(errors)


def test_the_grid_goes_from_zero_to_one(monkeypatch):
    tried = []

    def most_recent(weight, layer):
        return lambda fitted: tried.append(fitted.scale) or -len(tried)

    monkeypatch.setattr("mpqbench.baselines.transforms.smooth.OutputError", most_recent)
    weight, data = _layer()
    assert torch.equal(Smooth("search", grid=4).fit(weight, data).scale, tried[-1])
    expected = [Smooth(alpha).fit(weight, data).scale for alpha in (0, 0.25, 0.5, 0.75, 1)]
    torch.testing.assert_close(tried, expected)


def test_search_without_inputs_names_the_layer():
    data = LayerData("up", 4, 4, step_maxima=torch.ones(1, 4))
    with pytest.raises(BenchError, match=r"layer up: .* needs calibration inputs"):
        Smooth("search").fit(torch.ones(4, 4), data)
