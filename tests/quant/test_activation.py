import pytest
import torch

from mpqbench.core.errors import Diverged
from mpqbench.core.formats import ActivationFormat, Symmetry
from mpqbench.quant.activation import ActivationQuantizer, StepRanges
from mpqbench.quant.affine import qparams_from_range, quantize_dequantize

TOKEN = ActivationFormat()
STATIC = ActivationFormat(granularity="tensor")


def _one(row: torch.Tensor, bits: int, symmetric: Symmetry) -> torch.Tensor:
    return quantize_dequantize(row, qparams_from_range(row.min(), row.max(), bits, symmetric))


def _ranges(low: float, high: float) -> StepRanges:
    return StepRanges(torch.tensor([0]), torch.tensor([low]), torch.tensor([high]))


def _inputs() -> torch.Tensor:
    return (
        torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(3))
        * torch.logspace(-2, 2, 5)[:, None]
    )


@pytest.mark.parametrize("group", [None, 4])
@pytest.mark.parametrize("symmetric", [False, "restricted", "full"])
def test_every_token_or_group_of_channels_has_its_own_range(symmetric, group):
    x, granularity = _inputs(), "token" if group is None else "token-group"
    fmt = ActivationFormat(granularity=granularity, group=group, symmetric=symmetric)
    out = ActivationQuantizer(4, fmt)(x)
    for given, found in zip(x.view(-1, group or 12), out.view(-1, group or 12), strict=True):
        assert torch.equal(found, _one(given, 4, symmetric))


def test_static_saturates_outside_its_range():
    quantizer = _ranges(-1.0, 2.0).quantizer("layer", 2, STATIC)
    out = quantizer(torch.tensor([-9.0, -1.0, 0.2, 1.9, 50.0]))
    assert out.tolist() == [-1.0, -1.0, 0.0, 2.0, 2.0]


@pytest.mark.parametrize("fmt", [TOKEN, STATIC])
def test_nan_and_infinity_reach_the_output(fmt):
    static = _ranges(-1.0, 2.0).quantizer("layer", 4, STATIC)
    quantizer = static if fmt.is_static else ActivationQuantizer(4, fmt)
    x = torch.tensor([[1.0, float("inf")], [float("nan"), 1.0], [1.0, 0.5]])
    finite = torch.isfinite(quantizer(x)).all(dim=1)
    assert finite.tolist() == [False, False, True]


def test_bad_static_ranges_name_the_layer():
    with pytest.raises(Diverged, match="layer up"):
        _ranges(0.0, float("inf")).quantizer("up", 4, STATIC)
