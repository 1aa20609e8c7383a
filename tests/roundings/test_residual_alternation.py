import itertools

import pytest
import torch

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.contracts import LayerData
from mpqbench.core.formats import WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.branch import alternate, round_beside

FMT = WeightFormat(symmetric=False)


class _Dense:
    """A branch that is just its matrix."""

    def __init__(self, matrix):
        self.matrix = matrix

    def dense(self):
        return self.matrix


def _low_rank(rank):
    def fit(matrix, before=None):
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        return _Dense((u[:, :rank] * s[:rank]) @ v[:rank])

    return fit


def _nearest(matrix):
    return quantize_weight(matrix, FMT, 3, "up")


def _weight(seed):
    generator = torch.Generator().manual_seed(seed)
    strong = torch.randn(24, 2, generator=generator) @ torch.randn(2, 16, generator=generator)
    return torch.randn(24, 16, generator=generator) * 0.3 + strong


@pytest.mark.parametrize("seed", range(8))
def test_errors_fall_until_the_last_and_the_best_pair_is_kept(seed):
    weight, errors = _weight(seed), []

    def error(combined):
        errors.append(float((combined - weight).square().sum()))
        return errors[-1]

    rounded, branch = alternate(weight, _low_rank(4), _nearest, error, 30)
    best = errors.index(min(errors))
    assert len(errors) in (best + 1, best + 2)
    assert all(later < earlier for earlier, later in itertools.pairwise(errors[: best + 1]))
    assert error(branch.dense() + rounded.dequantize()) == errors[best]
    assert torch.linalg.matrix_rank(branch.dense(), rtol=1e-4) == 4


def test_exact_where_the_branch_holds_the_whole_weight():
    weight = torch.outer(torch.arange(1.0, 7), torch.arange(1.0, 5))

    def error(combined):
        return float((combined - weight).abs().max())

    rounded, branch = alternate(weight, lambda matrix, _: _Dense(matrix), _nearest, error, 5)
    assert torch.equal(branch.dense(), weight)
    assert not rounded.dequantize().any()


def test_a_branch_may_start_from_what_rounding_alone_lost():
    weight, data = _weight(0), LayerData("up", 16, 24, precision=Precision(3, None))
    alone = quantize_weight(weight, data.weight_format, 3, "up").dequantize()
    branch = LowRank(rank=2, iterations=1, init="residual")
    _, found = round_beside(weight, data, Nearest(), branch)
    assert torch.equal(found.dense(), branch.fit(weight - alone, data).dense())
