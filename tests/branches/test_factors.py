"""Matrices of blocks: what they store, what they compute, and that nothing nearer exists."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpqbench.baselines.branches.h_svd import MixedSVD
from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.branches.sparse import Sparse
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.contracts import Branch, LayerData
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Precision
from mpqbench.methods.treeq.gmb import Monarch
from mpqbench.quant.branch import round_beside, squared_error

DIT_XL = ((1152, 1152), (3456, 1152), (4608, 1152), (1152, 4608))


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _moment(width, seed=1):
    rows = _random(4 * width, width, seed=seed) * torch.linspace(0.2, 3, width)
    rows = rows @ _random(width, width, seed=seed + 1)
    return rows.T @ rows / len(rows)


def _data(out, width, moment=None):
    return LayerData("up", width, out, moment=moment, seed=5, precision=Precision(3, None))


def _fit(branch, target, moment=None):
    return branch.fit(target, _data(*target.shape, moment))


def _divisors(number):
    return [n for n in range(1, number + 1) if number % n == 0]


@pytest.mark.parametrize(("out", "width"), DIT_XL)
def test_numbers_and_multiplications_follow_the_formula_on_every_grid(out, width):
    for rows in _divisors(out):
        for columns in _divisors(width):
            for rank in (1, 2):
                size = Monarch(grid=(rows, columns), block_rank=rank).size(out, width)
                kept = min(rank, out // rows, width // columns)
                assert size.numbers == size.multiplications == kept * (rows * width + columns * out)
                assert size.extra_bits == 0


def test_scales_and_permutations_are_counted_by_hand():
    assert Monarch(grid=(4, 2), bits=8).size(32, 16).extra_bits == 16 * 6
    assert Monarch(grid=(4, 2), block_rank=3, bits=8).size(32, 16).extra_bits == 16 * 3 * 6
    permuted = Monarch(grid=(4, 2), permutation="energy").size(32, 16)
    assert permuted.extra_bits == 32 * 5 + 16 * 4
    assert Monarch(grid=(1, 2), permutation="energy").size(32, 16).extra_bits == 16 * 4
    assert LowRank(rank=3, bits=8).size(32, 16).stored_bits == 3 * 48 * 8 + 2 * 3 * 16
    sparse = Sparse(density=0.25).size(10, 12)  # 30 values, columns of 4 bits, 10 counts to 12
    assert (sparse.numbers, sparse.extra_bits) == (30, 30 * 4 + 10 * 4)
    assert Sparse(density=0.25, bits=8).size(10, 12).extra_bits == 30 * 4 + 10 * 4 + 16


@pytest.mark.parametrize("grid", [(4, 1), (1, 4), (4, 3), (1, 1)])
@pytest.mark.parametrize("permutation", ["none", "energy", "spread"])
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_of_full_rank_are_the_matrix_in_any_order(grid, permutation, weighted):
    target, x = _random(24, 36), _random(5, 36, seed=3)
    branch = Monarch(grid=grid, block_rank=36, permutation=permutation, weighted=weighted)
    fitted = _fit(branch, target, _moment(36) if weighted else None)
    torch.testing.assert_close(fitted.dense(), target, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fitted(x), x @ target.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("rank", [1, 2, 3, 8])
def test_at_equal_like_rank_nothing_takes_more_than_low_rank(rank, bits):
    shapes = [*DIT_XL, (128, 128), (512, 128), (16, 16), (1, 20), (7, 13)]
    for out, width in shapes:
        most = LowRank(rank=rank, bits=bits).size(out, width).stored_bits
        others = [
            Monarch(like_rank=rank, bits=bits),
            Monarch(like_rank=rank, bits=bits, permutation="energy"),
            Sparse(like_rank=rank, bits=bits),
            MixedSVD(like_rank=rank, bits=bits),
        ]
        for branch in others:
            size = branch.size(out, width)
            if size is not None:
                assert size.stored_bits <= most, branch
                # Grids of divisors come in steps, and a permutation alone may take half.
                if min(out, width) >= 128 and getattr(branch, "permutation", "none") == "none":
                    assert size.stored_bits > 0.5 * most, branch


@pytest.mark.parametrize("branch", [Monarch(grid=(4, 3), bits=8), LowRank(rank=3, bits=8)], ids=str)
def test_eight_bits_hold_what_sixteen_do_to_a_percent(branch):
    target, x = _random(24, 36), _random(50, 36, seed=3)
    fine, coarse = _fit(replace(branch, bits=16), target), _fit(branch, target)
    assert 0 < (fine.dense() - coarse.dense()).norm() < 0.02 * fine.dense().norm()
    assert 0 < (coarse(x) - x @ coarse.dense().T).norm() < 0.02 * fine(x).norm()
    for factor in (coarse.left, coarse.right):
        for block in factor:
            assert len(block.unique()) <= 255
            steps = block / (block.abs().max() / 127)
            torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("rows", "columns", "rank"), [(2, 3, 1), (3, 2, 1), (2, 2, 2), (1, 4, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_no_gradient_descent_finds_a_nearer_monarch_matrix(rows, columns, rank, weighted):
    out, width = 6, 12
    target = _random(out, width).double()
    moment = _moment(width).double() if weighted else torch.eye(width).double()
    s, p = out // rows, width // columns
    # A block sees its own inputs alone: moments between blocks are what the fit leaves out.
    blocks = torch.arange(width) // p
    moment = moment * (blocks[:, None] == blocks)

    def error(matrix):
        return ((matrix - target) @ moment * (matrix - target)).sum((-2, -1))

    generator = torch.Generator().manual_seed(9)
    starts = 20
    left = torch.randn(starts, rows, columns, s, rank, generator=generator).double()
    right = torch.randn(starts, rows, columns, rank, p, generator=generator).double()
    for factor in (left, right):
        factor.requires_grad_()
    optimiser = torch.optim.Adam([left, right], lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.99)
    for _ in range(500):
        matrices = (left @ right).transpose(2, 3).reshape(starts, out, width)
        errors = error(matrices)
        optimiser.zero_grad()
        errors.sum().backward()
        optimiser.step()
        schedule.step()
    branch = Monarch(grid=(rows, columns), block_rank=rank, weighted=weighted)
    own = error(_fit(branch, target.float(), moment.float()).dense().double())
    assert own <= errors.min() * (1 + 1e-6)
    assert errors.min() <= own * 1.05  # the descent came close: it is no straw man


@pytest.mark.parametrize("permutation", ["none", "energy"])
def test_a_monarch_matrix_is_recovered(permutation):
    rows, columns, rank, s, p = 4, 3, 2, 6, 8
    left, right = _random(rows, columns, s, rank), _random(rows, columns, rank, p, seed=1)
    target = (left @ right).transpose(1, 2).reshape(rows * s, columns * p)
    # Whole row and column blocks of falling energy: sorted, they are the blocks they were.
    by_row, by_column = (torch.logspace(0, -2, n).repeat_interleave(k) for n, k in ((4, 6), (3, 8)))
    if permutation == "energy":
        target = target / target.norm(dim=1, keepdim=True)
        target = target / target.norm(dim=0)
        target = target * by_row[:, None] * by_column
        shuffle = torch.randperm(24, generator=torch.Generator().manual_seed(0))
        target = target[shuffle][:, shuffle.flip(0)]
    fitted = _fit(Monarch(grid=(4, 3), block_rank=2, permutation=permutation), target)
    assert (fitted.dense() - target).norm() <= 1e-6 * target.norm()
    assert torch.linalg.matrix_rank(fitted.dense().double(), rtol=1e-5) > 2 * rank


def test_low_rank_loses_the_singular_values_that_numpy_drops():
    target = _random(20, 30)
    values = np.linalg.svd(target.double().numpy(), compute_uv=False)
    for rank in (1, 5, 12):
        lost = float((_fit(LowRank(rank=rank), target).dense() - target).double().square().sum())
        assert lost == pytest.approx(float((values[rank:] ** 2).sum()), rel=1e-5)
    assert (_fit(LowRank(rank=40), target).dense() - target).norm() < 1e-5


def test_weighted_low_rank_is_optimal_for_the_output():
    out, width, rank = 20, 30, 4
    target, moment = _random(out, width), _moment(width)
    # The least output error is what eigenvalues of W M W^T leave, from the other side of the SVD.
    energies = np.linalg.eigvalsh((target.double() @ moment.double() @ target.double().T).numpy())
    best = energies[: out - rank].sum()
    errors = []
    for weighted in (True, False):
        off = (
            _fit(LowRank(rank=rank, weighted=weighted), target, moment).dense() - target
        ).double()
        errors.append(float((off @ moment.double() * off).sum()))
    assert errors[0] == pytest.approx(best, rel=1e-5)
    assert errors[1] > 1.05 * best


def test_a_singular_moment_is_no_obstacle():
    target, rows = _random(12, 16), _random(5, 16, seed=2)
    rows[:, 3] = 0
    fitted = _fit(LowRank(rank=5, weighted=True), target, rows.T @ rows)
    torch.testing.assert_close(rows @ fitted.dense().T, rows @ target.T, rtol=1e-2, atol=1e-2)


def test_a_random_sketch_is_nearly_as_good():
    target = _random(60, 50) @ torch.diag(torch.logspace(0, -3, 50)) @ _random(50, 80, seed=1)
    exact, sketched = (
        (_fit(LowRank(rank=6, randomized=own), target).dense() - target).norm()
        for own in (False, True)
    )
    assert exact * (1 - 1e-6) <= sketched <= exact * 1.02


def test_sparse_keeps_the_largest_entries():
    target, moment = _random(8, 10), torch.diag(torch.linspace(0, 4, 10))
    kept = _fit(Sparse(density=0.25), target).dense()
    largest = target.abs() >= target.abs().flatten().sort(descending=True).values[19]
    assert torch.equal(kept, target * largest)
    weighted = _fit(Sparse(density=0.25, weighted=True), target, moment).dense()
    share = target.abs() * moment.diagonal().sqrt()
    assert torch.equal(weighted != 0, share >= share.flatten().sort(descending=True).values[19])


def test_turns_bring_both_parts_of_a_mixed_branch_together():
    whole = torch.outer(_random(24), _random(36, seed=1)) * 3
    blocks = _fit(Monarch(grid=(4, 3)), _random(24, 36, seed=2)).dense()
    fitted = _fit(MixedSVD(rank=1, grid=(4, 3)), whole + blocks)
    once = _fit(LowRank(rank=1), whole + blocks).dense()
    once = once + _fit(Monarch(grid=(4, 3)), whole + blocks - once).dense()
    assert (fitted.dense() - whole - blocks).norm() < (once - whole - blocks).norm()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Monarch(grid=(5, 4)).size(24, 36), "cannot split 24 rows into 5 blocks; valid: 1"),
        (lambda: Monarch(grid=(4, 4), like_rank=2), "give grid or like_rank, not both"),
        (lambda: Monarch(like_rank=2, block_rank=3), "blocks of rank 3 do not fit in the bytes of"),
        (lambda: LowRank(ratio=2.0), "ratio must be at most 1, not 2.0"),
        (lambda: MixedSVD(rank=2), "h-svd has two parts"),
        (
            lambda: _fit(LowRank(weighted=True), torch.ones(2, 2)),
            "weighted branch needs its moment",
        ),
    ],
)
def test_bad_input_is_one_sentence(make, sentence):
    with pytest.raises(BenchError, match=sentence):
        make()


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
