import numpy as np
import pytest
import torch

from mpqbench.baselines.transforms.none import Identity
from mpqbench.baselines.transforms.scaling import Scaling
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.quant.layer_error import OutputError

STATIC = ActivationFormat(granularity="tensor", time_groups=2)
GROUPED = ActivationFormat(granularity="token-group", group=4, symmetric=True)


def _layer(precision: Precision, activation: ActivationFormat) -> tuple[torch.Tensor, LayerData]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 8, generator=generator)
    data = LayerData(
        "layer",
        8,
        5,
        inputs=torch.randn(30, 8, generator=generator) + 0.5,
        precision=precision,
        weight_format=WeightFormat(granularity="group", group=4),
        activation_format=activation,
    )
    return weight, data


def _rounded(x: np.ndarray, bits: int | None, pieces: tuple[int, ...], symmetric: bool):
    """Every last axis of ``x`` in shape ``pieces`` on its own textbook grid, in float64."""
    if bits is None:
        return x
    blocks, top = x.reshape(pieces), 2**bits - 1
    if symmetric:
        half = 2 ** (bits - 1)
        scale = np.abs(blocks).max(-1, keepdims=True) / (half - 1)
        return (scale * np.clip(np.round(blocks / scale), -half, half - 1)).reshape(x.shape)
    low = np.minimum(blocks.min(-1, keepdims=True), 0)
    scale = (np.maximum(blocks.max(-1, keepdims=True), 0) - low) / top
    zero = np.round(-low / scale)
    return (scale * (np.clip(np.round(blocks / scale) + zero, 0, top) - zero)).reshape(x.shape)


@pytest.mark.parametrize("activations", [True, False])
@pytest.mark.parametrize("precision", [Precision(3, 4), Precision(None, 4), Precision(3, None)])
@pytest.mark.parametrize(
    ("fmt", "pieces"), [(ActivationFormat(), (30, 8)), (GROUPED, (30, 2, 4)), (STATIC, (1, 240))]
)
def test_against_the_formula_in_numpy(fmt, pieces, precision, activations):
    weight, data = _layer(precision, fmt)
    scale = np.linspace(0.5, 2, 8)
    x, w = data.inputs.double().numpy(), weight.double().numpy()
    bits = precision.activation if activations else None
    moved = _rounded(x / scale, bits, pieces, fmt.symmetric)
    scaled = _rounded(w * scale, precision.weight, (5, 2, 4), symmetric=True)
    expected = ((moved @ scaled.T - x @ w.T) ** 2).sum(1).mean()
    error = OutputError(weight, data, activations=activations)
    assert error(Scaling(torch.from_numpy(scale))) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_an_overflow_is_an_infinite_error_and_a_huge_one_a_number():
    weight, data = _layer(Precision(4, 4), ActivationFormat())
    assert OutputError(weight * 1e38, data)(Identity()) == float("inf")
    assert 1e56 < OutputError(weight * 1e30, data)(Identity()) < 1e62


def test_missing_inputs_name_the_layer():
    with pytest.raises(BenchError, match=r"layer up: .* needs calibration inputs"):
        OutputError(torch.ones(2, 2), LayerData("up", 2, 2))
