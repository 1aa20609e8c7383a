"""The checks that every plugin passes, and tests of what these two plugins add."""

import pytest
import torch
from mpqbench.conformance import checks
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import WeightFormat

from mpqbench_dither.dither import Dither
from mpqbench_dither.reorder import Reorder


@pytest.mark.parametrize("check", checks("rounding", Dither()), ids=str)
def test_dither_conforms(check):
    check()


@pytest.mark.parametrize("by", ["input", "weight"])
def test_reorder_conforms(by):
    for check in checks("transform", Reorder(by=by)):
        check()


def test_the_mean_over_seeds_is_the_weight():
    weight = torch.linspace(-1, 1, 40).reshape(4, 10)
    layers = [LayerData("layer", 10, 4, seed=seed) for seed in range(2000)]
    rounded = [Dither().round(weight, layer, WeightFormat(), 3).dequantize() for layer in layers]
    step = 1 / 3
    assert (torch.stack(rounded).mean(0) - weight).abs().max() < step / 10


def test_amount_zero_is_nearest_rounding():
    weight = torch.linspace(-1, 1, 40).reshape(4, 10)
    layer = LayerData("layer", 10, 4)
    result = Dither(amount=0.0).round(weight, layer, WeightFormat(), 8).dequantize()
    assert (result - weight).abs().max() <= 0.5 / 127 + 1e-6


def test_channels_come_in_falling_order():
    weight = torch.tensor([[1.0, -5.0, 2.0], [0.0, 4.0, -3.0]])
    fitted = Reorder(by="weight").fit(weight, LayerData("layer", 3, 2))
    assert fitted.weight(weight).tolist() == [[-5.0, 2.0, 1.0], [4.0, -3.0, 0.0]]


def test_parameters_are_checked():
    with pytest.raises(BenchError, match="amount must be at most 1, not 2"):
        Dither(amount=2)
    with pytest.raises(BenchError, match="by must be 'input' or 'weight', not 'size'"):
        Reorder(by="size")
