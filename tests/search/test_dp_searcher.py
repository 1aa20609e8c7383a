"""Dynamic programming: exact where costs have a common divisor, a stated loss where not."""

from __future__ import annotations

import numpy as np
import pytest

from mpqbench.baselines.searchers.dp import DynamicProgramming
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.search.feasible import cheapest_feasible
from mpqbench.search.measures import Measure
from mpqbench.search.tabular import (
    TabularScorer,
    additive_score,
    enumerate_best,
    random_problem,
    tabular_problem,
)

CHOICES = [Precision(*bits) for bits in ((2, 3), (2, 4), (3, 3), (3, 4), (4, 3), (4, 4))]
CHOICES.sort(key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits))
BUDGETS = [Budget.parse(text) for text in ("W2A3", "W3A3", "W3A4")]


def noisy_problem(seed, macs=None, budget=None):
    rng = np.random.default_rng(seed)
    names = [f"g{number}" for number in range(rng.integers(1, 5))]
    scores = {g: rng.normal(size=6) * rng.lognormal(0, 3) for g in names}
    macs = {g: float(rng.integers(1, 9)) * 2.0**20 if macs is None else macs(rng) for g in names}
    scorer = TabularScorer(dict.fromkeys(names, CHOICES), scores)
    return tabular_problem(macs, CHOICES, scorer, budget or BUDGETS[seed % 3])


def table_score(problem, allocation):
    return additive_score(problem, problem.table(), allocation)


def test_reaches_the_enumerated_optimum_of_100_noisy_tables():
    for seed in range(100):
        problem = noisy_problem(seed)
        found = DynamicProgramming().search(problem)
        assert problem.fits(found)
        assert list(found) == list(problem.groups)
        optimum = enumerate_best(problem)[1]
        assert table_score(problem, found) == pytest.approx(optimum, rel=1e-12)


def test_reaches_the_enumerated_optimum_of_100_chains():
    for seed in range(100):
        problem = random_problem(1 + seed % 4, CHOICES, BUDGETS[seed % 3], seed=seed)
        found = DynamicProgramming().search(problem)
        assert problem.fits(found)
        optimum = enumerate_best(problem)[1]
        assert table_score(problem, found) == pytest.approx(optimum, rel=1e-12)


@pytest.mark.parametrize("resolution", [7, 50, 1000])
def test_the_grid_never_exceeds_the_budget_and_loses_what_it_states(resolution):
    for seed in range(30):
        problem = noisy_problem(seed, lambda rng: rng.random(), BUDGETS[1 + seed % 2])
        found = DynamicProgramming(resolution=resolution).search(problem)
        assert problem.fits(found)
        lowest = problem.cost(cheapest_feasible(problem))
        bucket = (problem.limit() - lowest) / resolution
        smaller = problem.limit() - len(problem.groups) * bucket
        if smaller > lowest:
            reduced = tabular_problem(
                {g: problem.costs(g)[0, 0] / 6 for g in problem.groups},
                CHOICES,
                problem._scorer,
                problem.budget,
                more=[Measure("less", "", problem.measures[0].table, smaller)],
            )
            assert table_score(problem, found) <= enumerate_best(reduced)[1] + 1e-12
        assert table_score(problem, found) >= enumerate_best(problem)[1] - 1e-12


def test_the_one_bounded_measure_may_be_another_than_bitops():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        names = list("abcd")
        scorer = TabularScorer(dict.fromkeys(names, CHOICES), {g: rng.random(6) for g in names})
        weights = {g: {p: p.weight_bits for p in CHOICES} for g in names}
        problem = tabular_problem(
            dict.fromkeys(names, 1.0),
            CHOICES,
            scorer,
            Budget.parse("FP"),
            more=[Measure("weight-bits", "bits", weights, 11)],
        )
        found = DynamicProgramming().search(problem)
        assert problem.fits(found)
        optimum = enumerate_best(problem)[1]
        assert table_score(problem, found) == pytest.approx(optimum, rel=1e-12)


def test_several_bounded_measures_are_refused():
    weights = {"a": {p: p.weight_bits for p in CHOICES}}
    more = [Measure("weight-bits", "bits", weights, 3)]
    problem = tabular_problem({"a": 1.0}, CHOICES, None, BUDGETS[1], more=more)
    with pytest.raises(BenchError, match="one bounded measure, not 2: use 'ilp'"):
        DynamicProgramming().search(problem)


def test_limits():
    two = [Precision(4, 4), Precision(8, 8)]
    with pytest.raises(Infeasible, match="80 of 30 BitOPs"):
        DynamicProgramming().search(tabular_problem({"a": 2.0, "b": 3.0}, two, None, BUDGETS[0]))
    free = random_problem(3, CHOICES, Budget.parse("FP"), seed=0)
    assert set(DynamicProgramming().search(free).values()) == {Precision(4, 4)}
    full = tabular_problem({"a": 2.0}, [FULL], None, Budget.parse("FP"))
    assert DynamicProgramming().search(full) == {"a": FULL}
    tight = random_problem(3, CHOICES, BUDGETS[0], seed=0)
    assert set(DynamicProgramming().search(tight).values()) == {CHOICES[0]}
    poor = random_problem(3, CHOICES, BUDGETS[1], seed=0, allowance=17)
    assert set(DynamicProgramming().search(poor).values()) == {CHOICES[0]}
    assert poor.spent == 0
    with pytest.raises(BenchError, match="resolution must be at least 1"):
        DynamicProgramming(resolution=0)
