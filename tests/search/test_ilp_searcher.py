"""The integer program: exact on what can be enumerated, honest about limits, and its split."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from mpqbench.baselines.searchers.dp import DynamicProgramming
from mpqbench.baselines.searchers.ilp import ILP
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.search.feasible import (
    Arrays,
    cheapest_feasible,
    least,
    random_feasible,
    table_scores,
)
from mpqbench.search.knapsack import common_divisor, solve
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
GRID = [Precision(w, a) for w in (2, 3, 4, 5, 6, 8) for a in (3, 4, 5, 6, 8)]
BUDGETS = [Budget.parse(text) for text in ("W2A3", "W3A3", "W3A4")]


def noisy_problem(seed):
    """Scores of any sign, in no order, over many magnitudes; a third of them with two measures."""
    rng = np.random.default_rng(seed)
    names = [f"g{number}" for number in range(rng.integers(1, 6))]
    scores = {g: rng.normal(size=6) * rng.lognormal(0, 3) for g in names}
    macs = {g: rng.random() if seed % 2 else float(rng.integers(1, 9)) for g in names}
    more = []
    if seed % 3 == 0:
        table = {g: {p: p.weight_bits * rng.uniform(0.5, 1.5) for p in CHOICES} for g in names}
        more = [Measure("weight-bits", "bits", table, 3 * len(names) * rng.uniform(0.6, 1.3))]
    scorer = TabularScorer(dict.fromkeys(names, CHOICES), scores)
    return tabular_problem(macs, CHOICES, scorer, BUDGETS[seed // 3 % 3], more=more)


def optimum_or_none(problem):
    try:
        return enumerate_best(problem)[1]
    except Infeasible:
        return None


def table_score(problem, allocation):
    return additive_score(problem, problem.table(), allocation)


@pytest.mark.parametrize("block", range(4))
def test_reaches_the_enumerated_optimum_of_noisy_tables(block):
    infeasible = 0
    for seed in range(25 * block, 25 * block + 25):
        problem = noisy_problem(seed)
        optimum = optimum_or_none(problem)
        if optimum is None:
            infeasible += 1
            with pytest.raises(Infeasible, match=f"budget {problem.budget}: the least"):
                ILP().search(problem)
            continue
        found = ILP().search(problem)
        assert problem.fits(found)
        assert list(found) == list(problem.groups)
        assert table_score(problem, found) == pytest.approx(optimum, rel=1e-12)
    assert infeasible < 10


@pytest.mark.parametrize("block", range(4))
def test_reaches_the_enumerated_optimum_of_chains(block):
    for seed in range(25 * block, 25 * block + 25):
        problem = random_problem(1 + seed % 5, CHOICES, BUDGETS[seed % 3], seed=seed)
        found = ILP().search(problem)
        assert problem.fits(found)
        optimum = enumerate_best(problem)[1]
        assert table_score(problem, found) == pytest.approx(optimum, rel=1e-12)


def test_a_tiny_optimum_beside_huge_scores_is_exact():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        names = list("abcd")
        scores = {g: np.concatenate([[1e12], rng.random(5) * 1e-3]) for g in names}
        scorer = TabularScorer(dict.fromkeys(names, CHOICES), scores)
        problem = tabular_problem(dict.fromkeys(names, 1.0), CHOICES, scorer, BUDGETS[2])
        optimum = enumerate_best(problem)[1]
        assert table_score(problem, ILP().search(problem)) == pytest.approx(optimum, rel=1e-12)


def test_a_limit_that_is_missed_by_a_hair_is_kept():
    names = ("a", "b")
    scores = {g: np.array([2.0, 1.0]) for g in names}
    two = [Precision(2, 2), Precision(4, 4)]
    table = {g: {two[0]: 0.1, two[1]: 0.5} for g in names}
    for limit, most in ((1.0, 2), (1.0 - 1e-9, 1), (0.6, 1), (0.6 - 1e-9, 0)):
        measure = Measure("size", "", table, limit)
        scorer = TabularScorer(dict.fromkeys(names, two), scores)
        problem = tabular_problem(
            dict.fromkeys(names, 1.0), two, scorer, Budget.parse("FP"), more=[measure]
        )
        found = ILP().search(problem)
        assert problem.fits(found)
        assert list(found.values()).count(two[1]) == most


def test_the_next_best_are_found_by_exclusion():
    problem = random_problem(3, CHOICES, BUDGETS[1], seed=4)
    arrays, scores = Arrays.of(problem), table_scores(problem)
    every = [each for each in product(range(6), repeat=3) if arrays.fits(each)]
    sums = sorted(sum(s[i] for s, i in zip(scores, each, strict=True)) for each in every)
    found = []
    for expected in sums[:12]:
        found.append(solve(scores, arrays, exclude=found))
        total = sum(s[i] for s, i in zip(scores, found[-1], strict=True))
        assert total == pytest.approx(expected, rel=1e-12)
    assert solve(scores, arrays, exclude=every) is None


def test_a_full_size_problem_agrees_with_dynamic_programming():
    for budget in ("W4A4", "W3A3"):
        problem = random_problem(112, GRID, Budget.parse(budget), seed=1)
        found = ILP().search(problem)
        exact = DynamicProgramming().search(problem)
        assert problem.fits(found)
        assert table_score(problem, found) == pytest.approx(table_score(problem, exact), rel=1e-12)


def test_ties_one_group_and_no_bound():
    names = ("a", "b")
    scorer = TabularScorer(dict.fromkeys(names, CHOICES), dict.fromkeys(names, np.ones(6)))
    problem = tabular_problem(dict.fromkeys(names, 1.0), CHOICES, scorer, BUDGETS[0])
    assert set(ILP().search(problem).values()) == {CHOICES[0]}
    problem = random_problem(1, CHOICES, Budget.parse("FP"), seed=0)
    assert set(ILP().search(problem).values()) == {Precision(4, 4)}


def test_one_choice_is_taken_without_scores():
    problem = tabular_problem({"a": 1.0, "b": 2.0}, [FULL], None, Budget.parse("FP"))
    assert set(ILP().search(problem).values()) == {FULL}
    problem = tabular_problem({"a": 1.0}, [Precision(4, 4)], None, BUDGETS[0])
    with pytest.raises(Infeasible, match="16 of 6 BitOPs"):
        ILP().search(problem)


def test_without_an_allowance_the_cheapest_is_taken():
    problem = random_problem(3, CHOICES, BUDGETS[1], seed=0, allowance=5)
    assert set(ILP().search(problem).values()) == {CHOICES[0]}
    assert problem.spent == 0


def test_infeasible_names_every_bounded_measure():
    table = {g: {p: p.weight_bits for p in CHOICES} for g in "ab"}
    scorer = TabularScorer(dict.fromkeys("ab", CHOICES), dict.fromkeys("ab", np.ones(6)))
    measure = Measure("weight-bits", "bits", table, 3)
    problem = tabular_problem({"a": 1.0, "b": 2.0}, CHOICES, scorer, BUDGETS[1], more=[measure])
    with pytest.raises(Infeasible, match="alone is 18 of 27 BitOPs, 4 of 3 bits"):
        ILP().search(problem)
    assert problem.spent == 0
    assert least(problem).tolist() == [18, 4]


def opposed_problem(limit):
    """W2A4 is cheap in weight bits and dear in the other measure, W4A2 the other way round."""
    two = [Precision(2, 4), Precision(4, 2)]
    names = [f"g{number}" for number in range(4)]
    table = {g: {p: p.activation_bits for p in two} for g in names}
    weights = {g: {p: p.weight_bits for p in two} for g in names}
    more = [
        Measure("a", "activation bits", table, limit),
        Measure("w", "weight bits", weights, limit),
    ]
    scores = {g: np.array([0.0, number]) for number, g in enumerate(names)}
    scorer = TabularScorer(dict.fromkeys(names, two), scores)
    macs = dict.fromkeys(names, 1.0)
    return tabular_problem(macs, two, scorer, Budget.parse("FP"), more=more)


def test_measures_that_pull_apart():
    problem = opposed_problem(12)
    assert ILP().search(problem) == enumerate_best(problem)[0]
    assert problem.fits(cheapest_feasible(problem))
    assert all(problem.fits(random_feasible(problem)) for _ in range(20))
    problem = opposed_problem(11)  # each measure alone could be 8
    for search in (ILP().search, cheapest_feasible, random_feasible):
        with pytest.raises(
            Infeasible, match="alone is 8 of 11 activation bits, 8 of 11 weight bits"
        ):
            search(problem)


SPLIT = {"content": ["attn.qkv", "attn.out"], "quality": ["mlp.up", "mlp.down"]}


def test_the_split_takes_the_best_joint_score_of_its_candidates():
    problem = random_problem(4, CHOICES, BUDGETS[1], seed=3, coupling=0.5)
    ratios = (0.7, 1.0, 1.3)
    found = ILP(split=SPLIT, ratios=ratios).search(problem)
    macs = [problem.costs(group)[0, 0] / 6 for group in problem.groups]
    every = [dict(zip(problem.groups, c, strict=True)) for c in product(CHOICES, repeat=4)]
    table, best = problem.table(), math.inf
    for ratio in ratios:  # 1.3 leaves the second part too little
        first = ratio * 9 * sum(macs[:2])
        halves = []
        for groups, limit in (
            (problem.groups[:2], first),
            (problem.groups[2:], 9 * sum(macs) - first),
        ):
            parts = [{g: each[g] for g in groups} for each in every]
            fit = [part for part in parts if problem.cost(part) <= limit]
            halves += sorted(fit, key=lambda part: additive_score(problem, table, part))[:1]
        if len(halves) == 2:
            best = min(best, problem.score(halves[0] | halves[1]))
    assert best < math.inf
    assert problem.fits(found)
    assert problem.score(found) == pytest.approx(best, rel=1e-12)


def test_the_split_without_an_allowance_for_joint_scores_is_the_even_one():
    exact = random_problem(4, CHOICES, BUDGETS[1], seed=3)
    even = ILP(split=SPLIT, ratios=(1.0,)).search(exact)
    problem = random_problem(4, CHOICES, BUDGETS[1], seed=3, allowance=24)
    assert ILP(split=SPLIT).search(problem) == even
    assert problem.spent == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_limit": 0}, "time_limit must be positive"),
        ({"split": {"a": ["attn"]}}, "two parts, not 1"),
        ({"ratios": []}, "ratios must be positive"),
        ({"ratios": [1.0, -1]}, "ratios must be positive"),
    ],
)
def test_mistakes_in_parameters(options, message):
    with pytest.raises(BenchError, match=message):
        ILP(**options)


@pytest.mark.parametrize(
    ("split", "ratios", "message"),
    [
        ({"a": ["attn.qkv"], "b": ["mlp.up", "mlp.down"]}, [1.0], "attn.out is of neither part"),
        ({"a": ["attn.qkv"], "b": ["qkv"]}, [1.0], "attn.qkv is of both parts"),
        (SPLIT, [50.0], "leaves both parts enough"),
    ],
)
def test_mistakes_in_the_split(split, ratios, message):
    with pytest.raises(BenchError, match=message):
        ILP(split=split, ratios=ratios).search(random_problem(4, CHOICES, BUDGETS[1], seed=0))


def test_the_time_limit_is_named():
    problem = random_problem(112, GRID, Budget.parse("W3A3"), seed=0)
    with pytest.raises(BenchError, match=r"found nothing within 1e-06 s: raise time_limit"):
        ILP(time_limit=1e-6).search(problem)


def test_common_divisor():
    assert common_divisor(np.array([6.0, 0.0, 15.0])) == 3
    assert common_divisor(np.array([2.0**40 * 3, 2.0**41])) == 2.0**40
    assert common_divisor(np.array([0.5, 1.0])) == 0
    assert common_divisor(np.zeros(3)) == 0


def test_random_feasible_follows_its_generator_and_uses_the_budget():
    problem = random_problem(48, GRID, Budget.parse("W3A3"), seed=0)
    draws = [random_feasible(problem, np.random.default_rng(7)) for _ in range(2)]
    assert draws[0] == draws[1]
    many = [random_feasible(problem) for _ in range(20)]
    assert len(set(many)) == 20
    assert all(problem.fits(each) for each in many)
    assert np.mean([problem.cost(each) for each in many]) > 0.9 * problem.limit()


def test_random_feasible_is_uniform_where_nothing_binds():
    problem = random_problem(1, CHOICES, Budget.parse("FP"), seed=0)
    drawn = [next(iter(random_feasible(problem).values())) for _ in range(1200)]
    counts = np.array([drawn.count(precision) for precision in CHOICES])
    assert ((counts - 200) ** 2 / 200).sum() < 20.5  # chi-squared, 5 degrees, 0.1%
