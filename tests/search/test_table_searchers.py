"""What single searchers on additive scores promise beyond every searcher's checks."""

import itertools
import math

import numpy as np
import pytest
from small_problems import (
    BUDGETS,
    GRID,
    SIX,
    SQUARE,
    chain,
    noisy,
    of_scores,
    table_score,
    weight_bits,
)

from mpqbench.baselines.searchers.closed_form import ClosedForm, fitted
from mpqbench.baselines.searchers.dp import DynamicProgramming
from mpqbench.baselines.searchers.given import Given
from mpqbench.baselines.searchers.greedy import Greedy
from mpqbench.baselines.searchers.ilp import ILP
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import Precision
from mpqbench.search.arrays import Measure
from mpqbench.search.feasible import cheapest_feasible
from mpqbench.search.tabular import enumerate_best, tabular_problem

directions = pytest.mark.parametrize("direction", ["promote", "demote"])


@directions
def test_greedy_leaves_no_promotion_that_fits_and_helps(direction):
    for seed in range(40):
        problem = noisy(seed, whole=True, several=False)
        _no_promotion_is_left(problem, Greedy(direction).search(problem))


def _no_promotion_is_left(problem, found):
    score = table_score(problem, found)
    for group in problem.groups:
        for choice in problem.choices(group):
            other = {**found, group: choice}
            if problem.cost(other) >= problem.cost(found) and problem.fits(other):
                assert table_score(problem, other) >= score - 1e-12 * abs(score)


@directions
def test_greedy_loses_less_than_the_largest_step_on_convex_tables(direction):
    """The relaxed optimum stops within the first step that does not fit."""
    for seed in range(40):
        problem = chain(4, seed, SQUARE, str(BUDGETS[1 + seed % 2]), coupling=0)
        optimum = enumerate_best(problem)[1]
        score = table_score(problem, Greedy(direction).search(problem))
        largest = max(float(-np.diff(own).min()) for own in problem.table().values())
        assert optimum * (1 - 1e-12) <= score <= optimum + largest


@directions
def test_joint_scores_help_greedy_on_coupled_problems(direction):
    plain, rescored = [], []
    for seed in range(20):
        problem, fresh = (chain(6, seed, SQUARE, coupling=0.9) for _ in range(2))
        plain.append(problem.score(Greedy(direction).search(problem)))
        found = Greedy(direction, rescore=True).search(fresh)
        assert found == fresh.best()
        rescored.append(problem.score(found))
    assert np.mean(rescored) < np.mean(plain)


@directions
@pytest.mark.parametrize("allowance", [25, 26, 31, 40])
def test_the_table_decides_greedy_steps_that_the_allowance_does_not_pay_for(direction, allowance):
    problem = chain(5, 1, SQUARE, coupling=0.5, allowance=allowance)
    found = Greedy(direction, rescore=True).search(problem)
    if allowance == 25:  # the table alone
        assert found == Greedy(direction).search(chain(5, 1, SQUARE))
    best = problem.best()
    assert best is None or table_score(problem, found) <= table_score(problem, best)
    _no_promotion_is_left(problem, found)


@pytest.mark.parametrize("resolution", [7, 50, 1000])
def test_the_grid_of_dp_loses_at_most_one_bucket_a_group(resolution):
    for seed in range(1, 30, 2):  # costs without a common divisor
        problem = noisy(seed, several=False)
        try:
            lowest = problem.cost(cheapest_feasible(problem))
        except Infeasible:
            continue
        found = DynamicProgramming(resolution=resolution).search(problem)
        assert problem.fits(found)
        bucket = (problem.limit() - lowest) / resolution
        smaller = problem.limit() - len(problem.groups) * bucket
        if smaller > lowest:
            less = Measure("less", "", problem.measures[0].table, smaller)
            macs = {g: problem.costs(g)[0, 0] / 6 for g in problem.groups}
            reduced = tabular_problem(macs, SIX, problem.scorer, problem.budget, more=[less])
            assert table_score(problem, found) <= enumerate_best(reduced)[1] + 1e-12
        assert table_score(problem, found) >= enumerate_best(problem)[1] - 1e-12


def test_dp_takes_one_bounded_measure_whichever_it_is():
    for seed in range(10):
        scores = {g: np.random.default_rng(seed).random(6) for g in "abcd"}
        problem = of_scores(scores, SIX, more=[weight_bits("abcd", SIX, 11)])
        found = DynamicProgramming().search(problem)
        assert problem.fits(found)
        optimum = enumerate_best(problem)[1]
        assert table_score(problem, found) == pytest.approx(optimum, rel=1e-12)
    both = of_scores(scores, SIX, BUDGETS[1], more=[weight_bits("abcd", SIX, 11)])
    with pytest.raises(BenchError, match="one bounded measure, not 2: use 'ilp'"):
        DynamicProgramming().search(both)


BITS = np.array([(p.weight_bits, p.activation_bits) for p in GRID])


def test_the_closed_form_recovers_sensitivities():
    exact = np.array([[3.0, 0.3], [1e-4, 2e-2], [50.0, 50.0]])
    scores = [4.0**-BITS @ each for each in exact]
    assert fitted(scores, [BITS] * 3) == pytest.approx(exact, rel=0.06)  # steps of 12%
    rng = np.random.default_rng(0)
    random = [own * rng.lognormal(0, 0.2, len(own)) for own in scores]
    assert fitted(random, [BITS] * 3) == pytest.approx(exact, rel=0.35)


def test_scores_that_are_not_positive_have_a_floor():
    scores = [np.where(np.arange(30) % 2, -1.0, 1.0), np.zeros(30), np.full(30, -2.0)]
    found = fitted(scores, [BITS] * 3)
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert (fitted(scores[1:], [BITS] * 2) > 0).all()


def test_a_ratio_that_the_table_leaves_open_is_one():
    """Equal bits everywhere fit any ratio but for rounding, which differs between machines."""
    bits = np.array([(b, b) for b in (2, 3, 4, 5, 6, 8)])
    rng = np.random.default_rng(0)
    factors = 10.0 ** rng.uniform(-1, 1, 50)
    scores = [f * 2 * 4.0 ** -bits[:, 0] * (1 + 1e-15 * rng.normal(size=6)) for f in factors]
    found = fitted(scores, [bits] * 50)
    assert found == pytest.approx(np.stack([factors, factors], axis=1), rel=1e-9)


def test_bits_follow_half_the_logarithm():
    """Sixteen times the sensitivity is two bits more, where costs do not differ."""
    errors = np.array([2 * 4.0**-p.weight_bits for p in SQUARE])
    scores = {g: factor * errors for g, factor in zip("abc", (1 / 16, 1.0, 16.0), strict=True)}
    problem = of_scores(scores, SQUARE, more=[weight_bits("abc", SQUARE, 12)])
    assert [p.weight_bits for p in ClosedForm().search(problem).values()] == [2, 4, 6]


def test_the_closed_form_stays_near_the_optimum_of_its_model():
    small, factors = [Precision(w, a) for w in (2, 3, 4) for a in (3, 4, 5)], []
    for seed in range(20):
        problem = chain(3, seed, small, str(BUDGETS[1 + seed % 2]), coupling=0)
        found = ClosedForm().search(problem)
        factors.append(table_score(problem, found) / enumerate_best(problem)[1])
    assert min(factors) > 1 - 1e-12
    assert np.mean(factors) < 1.15
    assert max(factors) < 2


SPLIT = {"content": ["attn.qkv", "attn.out"], "quality": ["mlp.up", "mlp.down"]}


def test_the_split_takes_the_best_joint_score_of_its_candidates():
    problem = chain(4, 3, SIX, coupling=0.5)
    ratios = (0.7, 1.0, 1.3)
    found = ILP(split=SPLIT, ratios=ratios).search(problem)
    macs = [problem.costs(group)[0, 0] / 6 for group in problem.groups]
    best = math.inf
    for ratio in ratios:  # 1.3 leaves the second part too little
        first = ratio * 9 * sum(macs[:2])
        halves = []
        for groups, limit in (
            (problem.groups[:2], first),
            (problem.groups[2:], 9 * sum(macs) - first),
        ):
            parts = [dict(zip(groups, c, strict=True)) for c in itertools.product(SIX, repeat=2)]
            fit = [part for part in parts if problem.cost(part) <= limit]
            halves += sorted(fit, key=lambda part: table_score(problem, part))[:1]
        if len(halves) == 2:
            best = min(best, problem.score(halves[0] | halves[1]))
    assert best < math.inf
    assert problem.fits(found)
    assert problem.score(found) == pytest.approx(best, rel=1e-12)


def test_the_split_without_an_allowance_for_joint_scores_is_the_even_one():
    exact = chain(4, 3, SIX)
    even = ILP(split=SPLIT, ratios=(1.0,)).search(exact)
    problem = chain(4, 3, SIX, allowance=24)
    assert ILP(split=SPLIT).search(problem) == even
    assert problem.spent == 24


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
        ILP(split=split, ratios=ratios).search(chain(4, 0, SIX))


A, B = "blocks.0.attn.qkv", "blocks.0.attn.out"


def test_a_given_allocation_is_taken_in_network_order():
    found = Given({B: "W2A3", A: "w2a4"}).search(chain(2))
    assert list(found) == [A, B]
    assert found.to_json() == {A: "W2A4", B: "W2A3"}


@pytest.mark.parametrize(
    ("allocation", "sentence"),
    [
        ({A: "four"}, "'four' is not a precision"),
        ({A: "W2A3"}, f"leaves out {B}"),
        ({A: "W2A3", B: "W2A3", "blocks.0.attn.outs": "W2A3"}, f"did you mean '{B}'"),
        ({A: "W2A3", B: "W3A3"}, "cannot take W3A3"),
        ({A: "W4A4", B: "W4A4"}, r"exceeds budget W3A3: it takes .* BitOPs"),
    ],
)
def test_mistakes_in_a_given_allocation(allocation, sentence):
    with pytest.raises(BenchError, match=sentence):
        Given(allocation).search(chain(2))
