"""The integer program: exact near its limits, next best by exclusion, silent."""

from itertools import product

import numpy as np
import pytest
from small_problems import BUDGETS, FOUR, GRID, SIX, chain, of_scores, table_score

from mpqbench.baselines.searchers.ilp import ILP
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Precision
from mpqbench.search.arrays import Arrays, Measure
from mpqbench.search.feasible import random_feasible, table_scores
from mpqbench.search.knapsack import optima, perturbed, solve
from mpqbench.search.tabular import enumerate_best


def test_a_tiny_optimum_beside_huge_scores_is_exact():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scores = {g: np.concatenate([[1e12], rng.random(5) * 1e-3]) for g in "abcd"}
        problem = of_scores(scores, SIX, BUDGETS[2])
        optimum = enumerate_best(problem)[1]
        assert table_score(problem, ILP().search(problem)) == pytest.approx(optimum, rel=1e-12)


@pytest.mark.parametrize(("limit", "most"), [(1.0, 2), (1.0 - 1e-9, 1), (0.6, 1), (0.6 - 1e-9, 0)])
def test_a_limit_that_is_barely_missed_is_kept(limit, most):
    two = [Precision(2, 2), Precision(4, 4)]
    table = {g: {two[0]: 0.1, two[1]: 0.5} for g in "ab"}
    scores = dict.fromkeys("ab", np.array([2.0, 1.0]))
    problem = of_scores(scores, two, more=[Measure("size", "", table, limit)])
    found = ILP().search(problem)
    assert problem.fits(found)
    assert list(found.values()).count(two[1]) == most


def test_the_next_best_are_found_by_exclusion():
    problem = chain(3, 4, SIX, coupling=0)
    arrays, scores = Arrays.of(problem), table_scores(problem)
    every = [each for each in product(range(6), repeat=3) if arrays.fits(each)]
    sums = sorted(sum(s[i] for s, i in zip(scores, each, strict=True)) for each in every)
    found = optima(perturbed(scores, 12, 0.0, problem.rng), arrays)
    totals = [sum(s[i] for s, i in zip(scores, each, strict=True)) for each in found]
    assert totals == pytest.approx(sums[:12], rel=1e-12)
    assert solve(scores, arrays, exclude=every) is None


@pytest.mark.parametrize("rounded", [1.0, 0.1])
def test_tied_sums_are_optimal_and_always_the_same(rounded):
    """Scores of few digits give many allocations of one sum."""
    for seed in range(8):
        problem = chain(4, seed, SIX, coupling=0)
        additive = problem.scorer.additive
        additive |= {g: np.round(s / s.max() / rounded, 1) for g, s in additive.items()}
        found = ILP().search(problem)
        assert table_score(problem, found) == pytest.approx(enumerate_best(problem)[1])
        assert ILP().search(problem) == found


def test_the_solver_prints_nothing(capfd):
    """HiGHS 1.12 prints a line here that none of its options turns off."""
    ILP().search(chain(48, 35, SIX, "W3A4", coupling=0))
    assert capfd.readouterr() == ("", "")


def test_the_time_limit_is_named():
    with pytest.raises(BenchError, match=r"found nothing within 1e-06 s: raise time_limit"):
        ILP(time_limit=1e-6).search(chain(112, 0, GRID, coupling=0))


def test_random_feasible_follows_its_generator_and_uses_the_budget():
    problem = chain(48, 0, GRID)
    draws = [random_feasible(problem, np.random.default_rng(7)) for _ in range(2)]
    assert draws[0] == draws[1]
    many = [random_feasible(problem) for _ in range(20)]
    assert len(set(many)) == 20
    assert all(problem.fits(each) for each in many)
    assert np.mean([problem.cost(each) for each in many]) > 0.9 * problem.limit()


def test_random_feasible_is_uniform_where_nothing_binds():
    problem = chain(1, 0, FOUR, "FP")
    drawn = [next(iter(random_feasible(problem).values())) for _ in range(800)]
    counts = np.array([drawn.count(precision) for precision in FOUR])
    assert ((counts - 200) ** 2 / 200).sum() < 16.3  # chi-squared, 3 degrees, 0.1%
