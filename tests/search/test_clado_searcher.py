"""CLADO's matrix, projection and program against plain loops and enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mpqbench.baselines.searchers.clado import CLADO, _alone, interaction_matrix
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import Budget, Precision
from mpqbench.search.feasible import Arrays, cheapest_feasible, random_feasible
from mpqbench.search.interactions import enumerated, local_search, projected, row_starts, value
from mpqbench.search.measures import Measure
from mpqbench.search.tabular import enumerate_best, random_problem, tabular_problem

CHOICES = [Precision(w, a) for w in (2, 4) for a in (3, 4)]
W3A3 = Budget.parse("W3A3")


def _problem(groups=4, seed=0, choices=CHOICES, budget=W3A3, coupling=-0.8, **options):
    return random_problem(groups, choices, budget, seed=seed, coupling=coupling, **options)


def _random_program(seed):
    """A small problem's costs and a random positive semidefinite matrix."""
    rng = np.random.default_rng(seed)
    arrays = Arrays.of(_problem(int(rng.integers(2, 6)), seed, CHOICES[: rng.integers(2, 5)]))
    rows = sum(len(own) for own in arrays.choices)
    factor = rng.normal(size=(int(rng.integers(1, rows + 1)), rows))
    return arrays, factor.T @ factor


def _least(arrays, matrix):
    """By plain enumeration of one-hot vectors; the costs are whole numbers, so sums are exact."""
    every = [np.concatenate(rows) for rows in product(*(np.eye(len(c)) for c in arrays.choices))]
    costs = np.concatenate(arrays.costs)
    return min(x @ matrix @ x for x in every if (x @ costs <= arrays.limits).all())


def test_the_program_is_solved_on_200_small_tables_both_ways():
    for seed in range(200):
        arrays, matrix = _random_program(seed)
        problem = _problem(len(arrays.groups), seed, arrays.choices[0])
        least, starts = _least(arrays, matrix), row_starts(arrays)
        exact = enumerated(matrix, arrays)
        assert arrays.fits(exact)
        assert value(matrix, starts, exact) == pytest.approx(least, rel=1e-9, abs=1e-9)
        first = [arrays.indices(random_feasible(problem)) for _ in range(10)]
        found = local_search(matrix, arrays, first, 60.0)
        assert arrays.fits(found)
        assert value(matrix, starts, found) == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_a_step_over_two_groups_leaves_no_better_pair():
    arrays = Arrays.of(_problem(7, seed=1))
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(28, 28))
    matrix, starts = factor.T @ factor, row_starts(arrays)
    start = arrays.indices(random_feasible(_problem(7, seed=1)))
    found = local_search(matrix, arrays, [start], 60.0)
    least = value(matrix, starts, found)
    assert least <= value(matrix, starts, start)
    for one, two in product(range(7), repeat=2):
        for a, b in product(range(4), repeat=2):
            moved = found.copy()
            moved[one], moved[two] = a, b
            assert not arrays.fits(moved) or value(matrix, starts, moved) >= least - 1e-9


def test_the_matrix_gives_back_the_scores_of_pairs():
    problem = _problem(3, coupling=0.6)
    arrays = Arrays.of(problem)
    matrix = interaction_matrix(problem, arrays, _alone(problem, arrays), None)
    starts = row_starts(arrays)
    for indices in product(range(4), repeat=3):
        joint = problem.score(arrays.allocation(indices))  # pairs are all there is here
        assert value(matrix, starts, np.array(indices)) == pytest.approx(joint)
    assert (matrix == matrix.T).all()
    assert problem.spent == 3 * 4 + 3 * 16 + 64


def test_without_projection_it_finds_the_joint_optimum_of_pairwise_problems():
    for seed in range(4):
        problem = _problem(seed=seed)
        found = CLADO(project=False).search(problem)
        assert problem.score(found) == pytest.approx(enumerate_best(problem, joint=True)[1])


def test_projection_is_the_nearest_semidefinite_matrix():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(12, 12))
    matrix = matrix + matrix.T
    found = projected(matrix)
    distance = np.linalg.norm(found - matrix)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    assert distance == pytest.approx(
        np.linalg.norm(np.minimum(np.linalg.eigvalsh(matrix), 0))
    )  # known in closed form
    assert np.allclose(projected(found), found)


def test_reach_scores_only_near_pairs():
    problem = _problem(5)
    found = CLADO(reach=1, project=False).search(problem)
    assert problem.spent == 5 * 4 + 4 * 16
    assert problem.score(found) == pytest.approx(
        enumerate_best(_problem(5), joint=True)[1]
    )  # a chain has no others


def test_large_problems_are_searched_locally():
    problem = _problem(10, seed=4)  # a million allocations
    found = CLADO(reach=1, project=False).search(problem)
    other = _problem(10, seed=4)
    assert CLADO(reach=1, project=False).search(other) == found
    additive = CLADO(reach=1, project=False, starts=0).search(_problem(10, seed=4))
    assert problem.fits(found)
    assert problem.score(found) <= problem.score(additive) + 1e-12


@pytest.mark.parametrize("allowance", [0, 15, 16, 40, 500])
def test_an_allowance_is_kept(allowance):
    problem = _problem(allowance=allowance)
    found = CLADO(project=False).search(problem)
    assert problem.spent <= allowance
    assert problem.fits(found)
    if allowance < 16:
        assert found == cheapest_feasible(problem)
    if allowance == 16:  # no pair was scored: the additive optimum
        free = _problem()
        least = enumerate_best(free)[1]
        assert sum(free.score({g: p}) for g, p in found.items()) == pytest.approx(least)


def test_several_limits_hold_at_once():
    base = _problem()
    bits = {g: {p: float(p.weight_bits) for p in CHOICES} for g in base.groups}
    macs = {g: base.costs(g)[0, 0] / 6 for g in base.groups}
    more = [Measure("weight-bits", "bits", bits, 10.0)]
    problem = tabular_problem(macs, CHOICES, base._scorer, W3A3, more=more)
    found = CLADO(project=False).search(problem)
    best = enumerate_best(problem, joint=True)[1]
    assert problem.score(found) == pytest.approx(best)
    arrays = Arrays.of(problem)
    matrix = interaction_matrix(problem, arrays, _alone(problem, arrays), None)
    starts = [arrays.indices(random_feasible(problem)) for _ in range(10)]
    local = local_search(matrix, arrays, starts, 60.0)
    assert problem.score(arrays.allocation(local)) == pytest.approx(best)


def test_nothing_fits():
    with pytest.raises(Infeasible, match="the least that can be reached"):
        CLADO().search(_problem(choices=[Precision(4, 4), Precision(8, 8)]))


def test_one_choice_is_not_scored():
    problem = _problem(choices=[Precision(3, 3)])
    assert set(CLADO().search(problem).values()) == {Precision(3, 3)}
    assert problem.spent == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"reach": 0}, "reach must be at least 1"),
        ({"starts": -1}, "starts must not be negative"),
        ({"time_limit": 0}, "time_limit must be positive"),
    ],
)
def test_mistakes_are_named(parameters, message):
    with pytest.raises(BenchError, match=message):
        CLADO(**parameters)
