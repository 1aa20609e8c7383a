"""A rounded residual and a branch that are fitted to each other in turn."""

import pytest
import torch

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.contracts import LayerData
from mpqbench.core.formats import WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.branch import round_beside

DATA = LayerData(
    "up", 16, 24, precision=Precision(3, None), weight_format=WeightFormat(symmetric=False)
)


def _weight(seed):
    generator = torch.Generator().manual_seed(seed)
    strong = torch.randn(24, 2, generator=generator) @ torch.randn(2, 16, generator=generator)
    return torch.randn(24, 16, generator=generator) * 0.3 + strong


@pytest.mark.parametrize("seed", range(8))
def test_more_rounds_are_better_and_the_best_pair_is_kept(seed):
    weight, errors = _weight(seed), []
    for iterations in (1, 2, 4, 30):
        branch = LowRank(rank=4, iterations=iterations)
        rounded, fitted = round_beside(weight, DATA, Nearest(), branch)
        combined = fitted.dense() + rounded.dequantize()
        errors.append(float((combined - weight).double().square().sum()))
        assert torch.linalg.matrix_rank(fitted.dense(), rtol=1e-4) == 4
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_a_branch_of_the_whole_rank_leaves_no_error():
    weight = torch.outer(torch.arange(1.0, 25), torch.arange(1.0, 17))
    rounded, fitted = round_beside(weight, DATA, Nearest(), LowRank(rank=1))
    torch.testing.assert_close(fitted.dense() + rounded.dequantize(), weight)
    assert rounded.dequantize().abs().max() < 1e-4


def test_a_branch_may_start_from_what_rounding_alone_lost():
    weight = _weight(0)
    alone = quantize_weight(weight, DATA.weight_format, 3, "up").dequantize()
    branch = LowRank(rank=2, iterations=1, init="residual")
    _, found = round_beside(weight, DATA, Nearest(), branch)
    assert torch.equal(found.dense(), branch.fit(weight - alone, DATA).dense())
