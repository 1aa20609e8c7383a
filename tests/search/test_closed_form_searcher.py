"""The closed-form allocator: exact fits on exact models, and the water-filling they imply."""

from __future__ import annotations

import numpy as np
import pytest

from mpqbench.baselines.searchers.closed_form import ClosedForm, fitted
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

GRID = [Precision(w, a) for w in (2, 3, 4, 5, 6, 8) for a in (3, 4, 5, 6, 8)]
SMALL = [Precision(w, a) for w in (2, 3, 4) for a in (3, 4, 5)]
BUDGETS = [Budget.parse(text) for text in ("W2A3", "W3A3", "W3A4", "W4A4")]


def problem_of(scores, choices, budget, macs=None, **options):
    names = list(scores)
    scorer = TabularScorer(dict.fromkeys(names, choices), scores)
    macs = dict.fromkeys(names, 1.0) if macs is None else macs
    return tabular_problem(macs, choices, scorer, budget, **options)


def table_score(problem, allocation):
    return additive_score(problem, problem.table(), allocation)


def test_sensitivities_are_recovered():
    bits = np.array([(p.weight_bits, p.activation_bits) for p in GRID])
    exact = np.array([[3.0, 0.3], [1e-4, 2e-2], [50.0, 50.0]])
    scores = [4.0**-bits @ each for each in exact]
    assert fitted(scores, [bits] * 3) == pytest.approx(exact, rel=0.06)  # steps of 12%
    rng = np.random.default_rng(0)
    noisy = [own * rng.lognormal(0, 0.2, len(own)) for own in scores]
    assert fitted(noisy, [bits] * 3) == pytest.approx(exact, rel=0.35)


def test_scores_that_are_not_positive_are_floored():
    bits = np.array([(p.weight_bits, p.activation_bits) for p in SMALL])
    scores = [np.where(np.arange(9) % 2, -1.0, 1.0), np.zeros(9), np.full(9, -2.0)]
    found = fitted(scores, [bits] * 3)
    assert np.isfinite(found).all()
    assert (found > 0).all()
    assert (fitted(scores[1:], [bits] * 2) > 0).all()


def test_a_ratio_that_the_table_leaves_open_is_one():
    """Equal bits everywhere fit any ratio but for rounding, which no machine does alike."""
    bits = np.array([(b, b) for b in (2, 3, 4, 5, 6, 8)])
    rng = np.random.default_rng(0)
    factors = 10.0 ** rng.uniform(-1, 1, 50)
    scores = [f * 2 * 4.0 ** -bits[:, 0] * (1 + 1e-15 * rng.normal(size=6)) for f in factors]
    found = fitted(scores, [bits] * 50)
    assert found == pytest.approx(np.stack([factors, factors], axis=1), rel=1e-9)


def test_bits_follow_half_the_logarithm():
    """Sixteen times the sensitivity is two bits more, where costs do not differ."""
    square = [Precision(bits, bits) for bits in (2, 3, 4, 5, 6, 8)]
    errors = np.array([2 * 4.0**-p.weight_bits for p in square])
    scores = {g: factor * errors for g, factor in zip("abc", (1 / 16, 1.0, 16.0), strict=True)}
    macs = dict.fromkeys("abc", 1.0)
    table = {g: {p: p.weight_bits for p in square} for g in "abc"}
    measure = Measure("bits", "bits", table, 12)
    problem = problem_of(scores, square, Budget.parse("FP"), macs, more=[measure])
    assert [p.weight_bits for p in ClosedForm().search(problem).values()] == [2, 4, 6]


def test_dear_groups_get_fewer_bits():
    errors = np.array([4.0**-p.weight_bits + 4.0**-p.activation_bits for p in GRID])
    problem = problem_of(dict.fromkeys("ab", errors), GRID, BUDGETS[3], macs={"a": 1.0, "b": 16.0})
    found = ClosedForm().search(problem)
    assert problem.fits(found)
    assert found["a"].weight_bits > found["b"].weight_bits
    assert found["a"].activation_bits > found["b"].activation_bits


def test_keeps_the_budget_and_stays_near_the_optimum_of_its_model():
    factors = []
    for seed in range(40):
        problem = random_problem(3, SMALL, BUDGETS[1 + seed % 2], seed=seed)
        found = ClosedForm().search(problem)
        assert problem.fits(found)
        assert list(found) == list(problem.groups)
        factors.append(table_score(problem, found) / enumerate_best(problem)[1])
    assert min(factors) > 1 - 1e-12
    assert np.mean(factors) < 1.15
    assert max(factors) < 2


def test_several_measures_and_noisy_tables_keep_the_budget():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        names = [f"g{number}" for number in range(rng.integers(1, 6))]
        weights = {g: {p: p.weight_bits for p in SMALL} for g in names}
        more = [Measure("weight-bits", "bits", weights, 2.5 * len(names))]
        scores = {g: rng.normal(size=9) for g in names}
        macs = {g: float(rng.integers(1, 9)) for g in names}
        problem = problem_of(scores, SMALL, BUDGETS[seed % 3], macs, more=more)
        assert problem.fits(ClosedForm().search(problem))


def test_a_full_size_problem_beats_uniform_and_uses_its_budget():
    problem = random_problem(112, GRID, BUDGETS[3], seed=0)
    found = ClosedForm().search(problem)
    assert 0.99 * problem.limit() < problem.cost(found) <= problem.limit()
    uniform = dict.fromkeys(problem.groups, Precision(4, 4))
    assert table_score(problem, found) < 0.8 * table_score(problem, uniform)


def test_limits():
    two = [Precision(4, 4), Precision(8, 8)]
    with pytest.raises(Infeasible, match="80 of 30 BitOPs"):
        ClosedForm().search(tabular_problem({"a": 2.0, "b": 3.0}, two, None, BUDGETS[0]))
    free = random_problem(1, SMALL, Budget.parse("FP"), seed=0)
    assert set(ClosedForm().search(free).values()) == {Precision(4, 5)}
    full = tabular_problem({"a": 2.0}, [FULL], None, Budget.parse("FP"))
    assert ClosedForm().search(full) == {"a": FULL}
    poor = random_problem(3, SMALL, BUDGETS[1], seed=0, allowance=26)
    assert set(ClosedForm().search(poor).values()) == {Precision(2, 3)}
    assert poor.spent == 0
    with pytest.raises(BenchError, match="steps must be at least 1"):
        ClosedForm(steps=0)
