"""Random search: deterministic, within its allowance, and as good as the draws it makes."""

from __future__ import annotations

import pytest

from mpqbench.baselines.searchers.random_search import RandomSearch
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.search.tabular import enumerate_best, random_problem, tabular_problem

CHOICES = [Precision(w, a) for w in (2, 3, 4) for a in (3, 4)]
W3A3 = Budget.parse("W3A3")


def coupled(**options):
    return random_problem(4, CHOICES, W3A3, seed=3, coupling=0.5, **options)


def test_one_seed_one_result():
    assert RandomSearch(draws=30).search(coupled()) == RandomSearch(draws=30).search(coupled())
    first, second = (random_problem(4, CHOICES, W3A3, seed=seed) for seed in (1, 2))
    for problem in (first, second):
        RandomSearch(draws=30).search(problem)
    assert [row[4] for row in first.trace.rows] != [row[4] for row in second.trace.rows]


def test_the_best_draw_is_returned():
    problem = coupled()
    found = RandomSearch(draws=40, batch=7).search(problem)
    assert problem.fits(found)
    assert list(found) == list(problem.groups)
    assert found == problem.best()
    assert problem.spent <= 40


def test_many_draws_reach_the_joint_optimum():
    problem = random_problem(2, CHOICES, W3A3, seed=3, coupling=0.5)
    optimum = enumerate_best(random_problem(2, CHOICES, W3A3, seed=3, coupling=0.5), joint=True)
    assert RandomSearch(draws=500).search(problem) == optimum[0]
    assert problem.spent <= 36  # no allocation is scored twice


@pytest.mark.parametrize("allowance", [0, 1, 10, 33])
def test_the_allowance_is_kept(allowance):
    problem = coupled(allowance=allowance)
    found = RandomSearch(draws=200, batch=16).search(problem)
    assert problem.spent == allowance
    assert problem.fits(found)
    if allowance:
        assert found == problem.best()


def test_limits():
    two = [Precision(4, 4), Precision(8, 8)]
    with pytest.raises(Infeasible, match="80 of 45 BitOPs"):
        RandomSearch().search(tabular_problem({"a": 2.0, "b": 3.0}, two, None, W3A3))
    full = tabular_problem({"a": 2.0}, [FULL], None, Budget.parse("FP"))
    assert RandomSearch().search(full) == {"a": FULL}
    free = random_problem(1, CHOICES, Budget.parse("FP"), seed=0)
    assert set(RandomSearch().search(free).values()) == {Precision(4, 4)}
    for options in ({"draws": 0}, {"batch": 0}):
        with pytest.raises(BenchError, match="must be at least 1"):
            RandomSearch(**options)
