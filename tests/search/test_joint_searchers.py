"""What single searchers on joint scores promise beyond every searcher's checks."""

from itertools import product

import numpy as np
import pytest
from small_problems import FOUR, SIX, chain, scores_of, table_score

from mpqbench.baselines.searchers.clado import CLADO
from mpqbench.baselines.searchers.evolutionary import Evolutionary
from mpqbench.baselines.searchers.ilp import ILP
from mpqbench.baselines.searchers.ilp_verify import ILPVerify
from mpqbench.baselines.searchers.random_search import RandomSearch
from mpqbench.baselines.searchers.tpe import TPE
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import random_feasible
from mpqbench.search.interactions import enumerated, local_search, projected, row_starts, value
from mpqbench.search.tabular import enumerate_best


def test_random_search_scores_no_allocation_twice():
    problem = chain(2, 3, SIX)
    RandomSearch(draws=500).search(problem)
    assert problem.spent <= 36


def test_generations_improve_on_the_first_random_one():
    problem = chain(12, 3)
    Evolutionary(population=20, generations=6).search(problem)
    best = [row[-1] for row in problem.trace.rows]
    assert best[-1] < best[19]
    assert all(row[5] for row in problem.trace.rows)  # all that are scored fit
    assert len(best) == 20 + 5 * 50
    assert len(set(scores_of(problem))) > 200


def test_the_first_generation_may_be_the_integer_programs():
    seeded, plain, drawn = (chain(12, 3) for _ in range(3))
    found = Evolutionary(population=10, generations=3, first="ilp").search(seeded)
    optimum = plain.score(ILP().search(plain))
    Evolutionary(population=10, generations=1).search(drawn)
    scores = scores_of(seeded)
    assert scores[0] == optimum
    assert np.mean(scores[:10]) < np.mean(scores_of(drawn))
    assert seeded.score(found) == min(scores) < optimum


def test_tpe_learns_and_prints_nothing(capfd):
    problem = chain(8, 2)
    TPE(trials=90, startup=40).search(problem)
    scores = scores_of(problem)
    assert len(scores) == 90
    assert np.median(scores[60:]) < np.median(scores[:40])
    assert capfd.readouterr() == ("", "")


def _ranked(problem):
    """All allocations that fit, the best additive score first."""
    every = product(*(problem.choices(group) for group in problem.groups))
    named = [dict(zip(problem.groups, each, strict=True)) for each in every]
    return sorted(filter(problem.fits, named), key=lambda each: table_score(problem, each))


def test_the_best_joint_score_of_the_best_sums_is_taken():
    for seed in range(3):
        problem = chain(seed=seed)
        found = ILPVerify(proposals=6).search(problem)
        scores = [problem.score(each) for each in _ranked(problem)[:6]]
        assert problem.score(found) == pytest.approx(min(scores))
        assert scores_of(problem)[:6] == pytest.approx(scores)


@pytest.mark.parametrize("allowance", [16, 17])
def test_one_proposal_is_the_integer_program(allowance):
    problem = chain(allowance=allowance)
    found = ILPVerify(proposals=1 if allowance == 17 else 5).search(problem)
    assert dict(found) == _ranked(chain())[0]
    assert problem.spent == allowance


def _random_program(seed):
    """A small problem and a random positive semidefinite matrix."""
    rng = np.random.default_rng(seed)
    problem = chain(int(rng.integers(2, 6)), seed, FOUR[: rng.integers(2, 5)])
    arrays = Arrays.of(problem)
    rows = sum(len(own) for own in arrays.choices)
    factor = rng.normal(size=(int(rng.integers(1, rows + 1)), rows))
    return problem, arrays, factor.T @ factor


def _least(arrays, matrix):
    """By plain enumeration of one-hot vectors; the costs are whole numbers, so sums are exact."""
    every = [np.concatenate(rows) for rows in product(*(np.eye(len(c)) for c in arrays.choices))]
    costs = np.concatenate(arrays.costs)
    return min(x @ matrix @ x for x in every if (x @ costs <= arrays.limits).all())


def test_the_quadratic_program_is_solved_on_60_small_tables_both_ways():
    for seed in range(60):
        problem, arrays, matrix = _random_program(seed)
        least, starts = _least(arrays, matrix), row_starts(arrays)
        first = [arrays.indices(random_feasible(problem)) for _ in range(10)]
        for found in (enumerated(matrix, arrays), local_search(matrix, arrays, first, 60.0)):
            assert arrays.fits(found)
            assert value(matrix, starts, found) == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_local_search_leaves_no_better_pair():
    problem = chain(7, 1)
    arrays, rng = Arrays.of(problem), np.random.default_rng(0)
    factor = rng.normal(size=(28, 28))
    matrix, starts = factor.T @ factor, row_starts(arrays)
    start = arrays.indices(random_feasible(problem))
    found = local_search(matrix, arrays, [start], 60.0)
    least = value(matrix, starts, found)
    assert least <= value(matrix, starts, start)
    for one, two in product(range(7), repeat=2):
        for a, b in product(range(4), repeat=2):
            moved = found.copy()
            moved[one], moved[two] = a, b
            assert not arrays.fits(moved) or value(matrix, starts, moved) >= least - 1e-9


def test_projection_is_the_nearest_semidefinite_matrix():
    matrix = np.random.default_rng(0).normal(size=(12, 12))
    matrix = matrix + matrix.T
    found = projected(matrix)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    closed_form = np.linalg.norm(np.minimum(np.linalg.eigvalsh(matrix), 0))
    assert np.linalg.norm(found - matrix) == pytest.approx(closed_form)
    assert np.allclose(projected(found), found)


def test_reach_scores_only_near_pairs():
    problem = chain(5)
    found = CLADO(reach=1, project=False).search(problem)
    assert problem.spent == 5 * 4 + 4 * 16
    best = enumerate_best(chain(5), joint=True)[1]  # a chain has no other interactions
    assert problem.score(found) == pytest.approx(best)


def test_large_problems_are_searched_locally():
    problem, other, single = (chain(10, 4) for _ in range(3))  # a million allocations
    found = CLADO(reach=1, project=False).search(problem)
    assert CLADO(reach=1, project=False).search(other) == found
    additive = CLADO(reach=1, project=False, starts=0).search(single)
    assert problem.fits(found)
    assert problem.score(found) <= problem.score(additive) + 1e-12


def test_without_an_allowance_for_pairs_clado_is_the_additive_optimum():
    problem, free = chain(allowance=16), chain()
    found = CLADO(project=False).search(problem)
    least = enumerate_best(free)[1]
    assert sum(free.score({g: p}) for g, p in found.items()) == pytest.approx(least)
