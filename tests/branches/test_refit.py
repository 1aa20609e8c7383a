"""A branch that is fitted again beside what was rounded keeps what it decided the first time."""

from dataclasses import replace

import pytest
import torch

from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.contracts import Branch, LayerData
from mpqbench.core.precision import Precision
from mpqbench.methods.treeq.gmb import Monarch
from mpqbench.quant.branch import round_beside, squared_error


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _data(out, width):
    return LayerData("up", width, out, precision=Precision(3, None))


@pytest.mark.parametrize("grid", [(4, 3), (1, 3), (4, 1)])
@pytest.mark.parametrize("permutation", ["none", "energy", "spread"])
def test_a_monarch_branch_keeps_its_order(grid, permutation):
    first, second, data = _random(24, 36), _random(24, 36, seed=1), _data(24, 36)
    branch = Monarch(grid=grid, permutation=permutation)
    before = branch.fit(first, data)
    after = branch.refit(before, second, data)
    assert after.size == before.size
    rows, columns = torch.arange(24), torch.arange(36)
    if permutation != "none":  # by squares, as NumPy would sort them
        energy = first.double().numpy() ** 2
        by_row, by_column = (
            torch.from_numpy((-energy.sum(axis)).argsort(kind="stable").copy()) for axis in (1, 0)
        )
        if permutation == "spread":
            by_row, by_column = (
                torch.cat([own[hand::hands] for hand in range(hands)])
                for own, hands in ((by_row, grid[0]), (by_column, grid[1]))
            )
        rows = by_row if grid[0] > 1 else rows
        columns = by_column if grid[1] > 1 else columns
    sorted_ = Monarch(grid=grid).fit(second[rows][:, columns], data).dense()
    torch.testing.assert_close(after.dense()[rows][:, columns], sorted_, rtol=1e-5, atol=1e-6)


class Forgetful(Monarch):
    refit = Branch.refit


@pytest.mark.parametrize("permutation", ["energy", "spread"])
def test_turns_converge_in_any_order(permutation):
    """Random matrices have no order that blocks profit from, so that all orders are alike."""
    data = _data(64, 48)

    def error(branch):
        """The mean over six matrices."""
        left = 0.0
        for seed in range(6):
            weight = _random(64, 48, seed=seed)
            rounded, fitted = round_beside(weight, data, Nearest(), branch)
            left += squared_error(weight - rounded.dequantize() - fitted.dense(), None) / 6
        return left

    plain = Monarch(grid=(8, 8))
    permuted = replace(plain, permutation=permutation)
    assert error(permuted) == pytest.approx(error(plain), rel=0.05)
    assert error(Forgetful(**vars(permuted))) > 1.3 * error(permuted)
