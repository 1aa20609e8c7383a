"""Greedy: within the budget, near the optimum where greed is justified, better when re-scored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mpqbench.baselines.searchers.greedy import Greedy
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import FULL, Budget, Precision
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
SQUARE = [Precision(bits, bits) for bits in (2, 3, 4, 5, 6)]
BUDGETS = [Budget.parse(text) for text in ("W2A3", "W3A3", "W3A4")]
DIRECTIONS = ("promote", "demote")


def noisy_problem(seed):
    """Scores of any sign and in no order; half of the problems with a second measure."""
    rng = np.random.default_rng(seed)
    names = [f"g{number}" for number in range(rng.integers(1, 6))]
    scores = {g: rng.normal(size=6) * rng.lognormal(0, 3) for g in names}
    macs = {g: float(rng.integers(1, 9)) for g in names}
    table = {g: {p: p.weight_bits * rng.uniform(0.5, 1.5) for p in CHOICES} for g in names}
    more = [Measure("weight-bits", "bits", table, 3.6 * len(names))] if seed % 2 else []
    scorer = TabularScorer(dict.fromkeys(names, CHOICES), scores)
    return tabular_problem(macs, CHOICES, scorer, BUDGETS[seed % 3], more=more)


def table_score(problem, allocation):
    return additive_score(problem, problem.table(), allocation)


@pytest.mark.parametrize("rescore", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_keeps_the_budget_and_no_single_promotion_is_left(direction, rescore):
    for seed in range(40):
        problem = noisy_problem(seed)
        found = Greedy(direction, rescore).search(problem)
        assert problem.fits(found)
        assert list(found) == list(problem.groups)
        score = table_score(problem, found)
        for group in problem.groups:
            for choice in CHOICES:
                other = {**found, group: choice}
                cheaper = problem.cost(other) >= problem.cost(found)
                if cheaper and problem.fits(other):
                    assert table_score(problem, other) >= score - 1e-12 * abs(score)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_convex_tables_lose_less_than_the_largest_step(direction):
    """The relaxed optimum stops within the first step that does not fit, so greed loses less."""
    factors = []
    for seed in range(40):
        problem = random_problem(4, SQUARE, BUDGETS[1 + seed % 2], seed=seed)
        table = problem.table()
        optimum = enumerate_best(problem)[1]
        score = table_score(problem, Greedy(direction).search(problem))
        largest = max(float(-np.diff(own).min()) for own in table.values())
        assert optimum * (1 - 1e-12) <= score <= optimum + largest
        factors.append(score / optimum)
    assert max(factors) < 2
    assert np.mean(factors) < 1.1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_joint_scores_pay_on_coupled_problems(direction):
    plain, rescored = [], []
    for seed in range(20):
        problem = random_problem(6, SQUARE, BUDGETS[1], seed=seed, coupling=0.9)
        plain.append(problem.score(Greedy(direction).search(problem)))
        fresh = random_problem(6, SQUARE, BUDGETS[1], seed=seed, coupling=0.9)
        rescored.append(problem.score(Greedy(direction, rescore=True).search(fresh)))
    assert np.mean(rescored) < np.mean(plain)
    assert np.mean(np.log(rescored)) <= np.mean(np.log(plain))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_best_scored_is_returned_and_scorings_are_n_a_step(direction):
    problem = random_problem(5, SQUARE, BUDGETS[1], seed=1, coupling=0.5)
    found = Greedy(direction, rescore=True).search(problem)
    assert found == problem.best()
    steps = 5 * len(SQUARE)
    assert problem.spent <= 5 * len(SQUARE) + 2 + 2 * 5 * steps


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("allowance", [3, 25, 26, 31, 60])
def test_the_allowance_is_kept(direction, allowance):
    problem = random_problem(5, SQUARE, BUDGETS[1], seed=1, coupling=0.5, allowance=allowance)
    found = Greedy(direction, rescore=True).search(problem)
    assert problem.spent <= allowance
    assert problem.fits(found)
    if allowance == 3:
        assert set(found.values()) == {SQUARE[0]}
    elif allowance == 25:
        assert found == Greedy(direction).search(random_problem(5, SQUARE, BUDGETS[1], seed=1))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("allowance", [26, 31, 40])
def test_the_table_decides_what_the_allowance_does_not_pay_for(direction, allowance):
    problem = random_problem(5, SQUARE, BUDGETS[1], seed=1, coupling=0.5, allowance=allowance)
    found = Greedy(direction, rescore=True).search(problem)
    score = table_score(problem, found)
    assert problem.best() is None or score <= table_score(problem, problem.best())
    for group, choice in itertools.product(problem.groups, SQUARE):
        other = {**found, group: choice}
        if problem.cost(other) >= problem.cost(found) and problem.fits(other):
            assert table_score(problem, other) >= score - 1e-12 * abs(score)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_measures_that_pull_apart(direction):
    two = [Precision(2, 4), Precision(4, 2)]
    names = [f"g{number}" for number in range(4)]
    more = [
        Measure("a", "bits", {g: {p: p.activation_bits for p in two} for g in names}, 12),
        Measure("w", "bits", {g: {p: p.weight_bits for p in two} for g in names}, 12),
    ]
    scorer = TabularScorer(dict.fromkeys(names, two), dict.fromkeys(names, np.array([0.0, 1.0])))
    free = Budget.parse("FP")
    problem = tabular_problem(dict.fromkeys(names, 1.0), two, scorer, free, more=more)
    assert problem.fits(Greedy(direction).search(problem))


def test_groups_with_different_numbers_of_choices_are_all_promoted():
    problem = random_problem(3, SQUARE, Budget.parse("FP"), seed=0)
    problem._choices["blocks.0.attn.qkv"] = tuple(SQUARE[:2])
    problem._costs["blocks.0.attn.qkv"] = problem.costs("blocks.0.attn.qkv")[:2]
    scorer = problem._scorer
    scorer.additive["blocks.0.attn.qkv"] = scorer.additive["blocks.0.attn.qkv"][:2]
    for direction in DIRECTIONS:
        found = Greedy(direction).search(problem)
        assert list(found.values()) == [SQUARE[1], SQUARE[-1], SQUARE[-1]]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_full_size_problem_uses_its_budget(direction):
    grid = [Precision(w, a) for w in (2, 3, 4, 5, 6, 8) for a in (3, 4, 5, 6, 8)]
    problem = random_problem(112, grid, BUDGETS[1], seed=0)
    found = Greedy(direction).search(problem)
    assert 0.99 * problem.limit() < problem.cost(found) <= problem.limit()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_limits(direction):
    two = [Precision(4, 4), Precision(8, 8)]
    with pytest.raises(Infeasible, match="80 of 30 BitOPs"):
        Greedy(direction).search(tabular_problem({"a": 2.0, "b": 3.0}, two, None, BUDGETS[0]))
    free = random_problem(1, CHOICES, Budget.parse("FP"), seed=0)
    assert set(Greedy(direction).search(free).values()) == {Precision(4, 4)}
    full = tabular_problem({"a": 2.0}, [FULL], None, Budget.parse("FP"))
    assert Greedy(direction).search(full) == {"a": FULL}
    tight = random_problem(3, CHOICES, BUDGETS[0], seed=0)
    assert set(Greedy(direction).search(tight).values()) == {CHOICES[0]}
    tied = TabularScorer(dict.fromkeys("ab", CHOICES), dict.fromkeys("ab", np.ones(6)))
    problem = tabular_problem({"a": 1.0, "b": 1.0}, CHOICES, tied, BUDGETS[1])
    assert set(Greedy(direction).search(problem).values()) == {CHOICES[0]}


def test_mistakes():
    with pytest.raises(BenchError, match="direction is promote or demote, not 'up'"):
        Greedy("up")
    problem = random_problem(2, CHOICES, BUDGETS[1], seed=0)
    problem._scorer.additive[problem.groups[1]][2] = np.nan
    with pytest.raises(BenchError, match=r"table of group blocks\.0\.attn\.out has a score"):
        Greedy().search(problem)
