import pytest
import torch

from mpqbench.baselines.transforms.smooth import Smooth, smoothing
from mpqbench.contracts import LayerData
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
