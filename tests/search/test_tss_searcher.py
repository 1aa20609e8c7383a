"""Tree-structured search against enumeration, and what it promises about its scorings."""

import numpy as np
import pandas as pd
import pytest
from small_problems import chain, of_scores

from mpqbench.core.precision import Budget, Precision
from mpqbench.methods.treeq.tss import TSS
from mpqbench.search.feasible import cheapest_feasible, fitting_uniforms
from mpqbench.search.pareto import RULES
from mpqbench.search.tabular import enumerate_best

MORE = [Precision(w, a) for w in (2, 3, 4, 5) for a in (2, 3, 4, 5)]
W3A3 = Budget.parse("W3A3")


def _steps(problem, tss):
    found = tss.search(problem)
    return found, [pd.DataFrame(part) for part in problem.notes["merges"]]


def _groups(problem, step):
    return [problem.groups.index(name) for name in step.groups.iloc[0].split()]


@pytest.mark.parametrize("drop", RULES)
@pytest.mark.parametrize("order", ["network", "shuffled"])
def test_with_room_for_all_it_is_exhaustive(drop, order):
    for seed in range(8):
        problem = chain(4 + seed % 2, seed, coupling=-0.9 if seed % 4 < 2 else 0.7)
        found = TSS(keep=64, drop=drop, order=order).search(problem)
        _, best = enumerate_best(problem, joint=True)
        assert problem.fits(found)
        assert problem.score(found) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(("groups", "keep"), [(2, 3), (7, 4), (13, 6)])
def test_scorings_are_at_most_keep_squared_a_merge(groups, keep):
    problem = chain(groups, choices=MORE, seed=3)
    found, steps = _steps(problem, TSS(keep=keep))
    leaves, merges = steps[:groups], steps[groups:]
    compared = len(fitting_uniforms(problem)) + 1  # and the additive optimum
    assert problem.spent <= groups * len(MORE) + (groups - 1) * keep**2 + compared
    assert problem.spent == groups * len(MORE) + sum(len(step.score) for step in merges)
    assert len(merges) == groups - 1
    assert all((step.level == 0).all() and len(_groups(problem, step)) == 1 for step in leaves)
    assert all(1 <= step.kept.sum() <= keep for step in steps)
    assert _groups(problem, merges[-1]) == list(range(groups))
    assert list(found) == list(problem.groups)


def test_nodes_are_neighbours_and_merge_level_by_level():
    problem = chain(6)
    _, steps = _steps(problem, TSS(keep=2))
    numbers = [_groups(problem, step) for step in steps[6:]]
    assert numbers == [[0, 1], [2, 3], [4, 5], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]
    assert [step.level.iloc[0] for step in steps[6:]] == [1, 1, 1, 2, 3]
    assert [step.node.iloc[0] for step in steps] == list(range(11))


def test_keep_one_compares_the_anchor_with_uniform_precision_and_the_additive_optimum():
    for seed in range(5):
        problem = chain(seed=seed)
        optimum, _ = enumerate_best(problem)
        others = [optimum, *fitting_uniforms(problem)]
        least = problem.score_many(others).min()
        assert problem.score(TSS(keep=1).search(problem)) == pytest.approx(least)
        least = min(least, problem.score(cheapest_feasible(problem)))
        assert problem.score(TSS(keep=1, anchor="cheapest").search(problem)) == pytest.approx(least)


def test_it_is_never_worse_than_the_integer_program_and_often_better():
    better = 0
    for seed in range(10):
        problem = chain(8, seed=seed, coupling=-0.9)
        alone = problem.score(TSS(keep=1).search(problem))
        joint = problem.score(TSS(keep=4).search(problem))
        assert joint <= alone * (1 + 1e-12)
        better += joint < alone * (1 - 1e-6)
    assert better >= 5


def test_bits_move_between_distant_blocks():
    own = sorted(MORE, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits))
    errors = np.array([4.0**-p.weight_bits for p in own])
    needs = [1e4] * 4 + [1.0] * 4  # the first half needs far more than its share
    additive = {f"blocks.{n}": need * errors for n, need in enumerate(needs)}

    def score(**parameters):
        problem = of_scores(additive, own, W3A3)
        return problem.score(TSS(**parameters).search(problem))

    best = score(keep=1)
    assert score(keep=8, anchor="cheapest") == pytest.approx(best)


@pytest.mark.parametrize("drop", sorted(set(RULES) - {"pareto"}))
def test_a_window_bounds_what_is_scored(drop):
    problem = chain(8, choices=MORE, seed=2)
    anchor = cheapest_feasible(problem)
    _, steps = _steps(problem, TSS(keep=4, drop=drop, window=(0.7, 1.4), anchor="cheapest"))
    for step in steps[8:-1]:
        own = [problem.groups[at] for at in _groups(problem, step)]
        least = problem.cost({group: anchor[group] for group in own}) / problem.limit()
        outside = (step.cost < 0.7 * step.share) | (step.cost > 1.4 * step.share)
        assert np.allclose(step.cost[outside], least)
    assert sum(step.share.iloc[0] for step in steps[:8]) == pytest.approx(1)


def test_a_small_allowance_lowers_keep_so_that_the_root_is_reached():
    leaves, merges = 8 * 16, 7
    problem = chain(8, choices=MORE, seed=5, allowance=leaves + merges * 9)
    found, steps = _steps(problem, TSS(keep=16))
    assert len(steps) == 8 + merges
    assert problem.best() == found
    free = chain(8, choices=MORE, seed=5)
    alone = TSS(keep=1).search(free)
    assert free.score(found) <= free.score(alone) * (1 + 1e-12)


def test_a_small_allowance_is_shared_by_the_levels():
    leaves, rest = 8 * 16, 90
    problem = chain(8, choices=MORE, seed=5, allowance=leaves + rest)
    _, steps = _steps(problem, TSS(keep=16))
    merged = [step for step in steps if step.level.iloc[0] > 0]
    sizes = {level: [len(s) for s in merged if s.level.iloc[0] == level] for level in (1, 2, 3)}
    assert [len(own) for own in sizes.values()] == [4, 2, 1]
    assert max(sizes[1]) < sizes[3][0]
    assert sum(sizes[1]) <= rest / 3


def test_without_an_allowance_for_merges_the_integer_program_completes():
    problem = chain(8, choices=MORE, seed=5, allowance=8 * 16)
    free = chain(8, choices=MORE, seed=5)
    assert TSS(anchor="cheapest").search(problem) == TSS(keep=1).search(free)


def test_a_shuffled_order_is_decided_by_the_problem_alone():
    def run(seed):
        problem = chain(8, choices=MORE, seed=7)
        problem.rng = np.random.default_rng(seed)
        found, steps = _steps(problem, TSS(keep=4, order="shuffled"))
        return found, [step.groups.iloc[0].split() for step in steps]

    assert run(1) == run(1)
    assert run(1)[1] != run(2)[1]
    assert set(run(1)[1][8]) != {"blocks.0.attn.qkv", "blocks.0.attn.out"}
