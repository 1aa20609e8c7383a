"""The problem a searcher sees: what is counted, what is refused, what is remembered."""

import math
from itertools import product

import numpy as np
import pytest
from chains import random_problem

from mpqbench.core.errors import BenchError, Exhausted
from mpqbench.core.precision import Budget, Precision
from mpqbench.search.arrays import Measure
from mpqbench.search.problem import COLUMNS
from mpqbench.search.tabular import TabularScorer, additive_score, enumerate_best, tabular_problem

CHOICES = [Precision(w, a) for w in (2, 4) for a in (3, 4)]
W3A3, W4A4 = Budget.parse("W3A3"), Budget.parse("W4A4")
FP = Budget.parse("FP")


def _problem(budget=W3A3, groups=3, allowance=math.inf):
    problem = random_problem(groups, CHOICES, budget, seed=1, coupling=0.5)
    problem.allowance = allowance
    return problem


def _everywhere(problem, precision):
    return dict.fromkeys(problem.groups, precision)


def test_costs_add_up_in_every_measure():
    macs = {"a": 2.0, "b": 3.0}
    weights = Measure(
        "weight-bits", "bits", {g: {p: p.weight_bits for p in CHOICES} for g in macs}, 5
    )
    problem = tabular_problem(macs, CHOICES, None, W4A4, more=[weights])
    allocation = {"a": Precision(2, 3), "b": Precision(4, 4)}
    assert problem.cost(allocation) == 2 * 6 + 3 * 16
    assert problem.limits().tolist() == [5 * 16, 5]
    assert not problem.fits(allocation)
    assert problem.fits({"b": Precision(4, 4)})
    assert problem.costs("b").tolist() == [[18, 2], [24, 2], [36, 4], [48, 4]]


def test_spending_is_counted_and_the_table_is_paid_for_once():
    problem = _problem()
    problem.table()
    problem.table()
    assert problem.spent == 3 * 4
    problem.score_many([_everywhere(problem, p) for p in CHOICES])
    assert problem.spent == 3 * 4 + 4


def test_the_allowance_is_hard_and_what_was_scored_stays():
    problem = _problem(FP, allowance=2)
    with pytest.raises(Exhausted, match="spent 2 of 2"):
        problem.score_many([_everywhere(problem, p) for p in CHOICES])
    assert problem.spent == 2
    assert len(problem.trace.rows) == 2
    assert problem.best() is not None
    with pytest.raises(Exhausted):
        problem.table()
    with pytest.raises(Exhausted):
        problem.score(_everywhere(problem, CHOICES[0]))
    assert problem.spent == 2


class _Shares(TabularScorer):
    """Takes half of what it asks for, as candidates do that share their beginnings."""

    def scores(self, allocations):
        scores, forwards = super().scores(allocations)
        return scores, forwards / 2


def test_what_a_batch_did_not_spend_pays_for_the_rest_of_it():
    whole = _problem()
    scorer = _Shares(whole.scorer.choices, whole.scorer.additive)
    every = [_everywhere(whole, p) for p in CHOICES] * 2

    def problem(allowance):
        problem = tabular_problem(dict.fromkeys(whole.groups, 1.0), CHOICES, scorer, W3A3)
        problem.allowance = allowance
        return problem

    enough = problem(4.5)
    assert len(enough.score_many(every)) == len(every)
    assert enough.spent == 4
    short = problem(3.0)
    with pytest.raises(Exhausted):
        short.score_many(every)
    assert short.spent + 1 > 3
    assert len(short.trace.rows) == 2 * short.spent


def test_the_best_is_complete_and_fits():
    problem = _problem(W3A3)
    problem.score({problem.groups[0]: CHOICES[-1]})
    assert problem.best() is None
    problem.score(_everywhere(problem, Precision(4, 4)))
    assert problem.best() is None  # above W3A3
    problem.score(_everywhere(problem, Precision(2, 4)))
    problem.score(_everywhere(problem, Precision(2, 3)))
    best = problem.best()
    assert best is not None
    assert set(best.values()) == {Precision(2, 4)}


def test_the_trace_is_a_table_with_a_falling_best():
    problem = _problem(FP)
    rng = np.random.default_rng(0)
    for _ in range(20):
        problem.score({g: CHOICES[rng.integers(4)] for g in problem.groups})
    frame = problem.trace.table()
    assert list(frame.columns) == list(COLUMNS)
    assert frame.evaluation.tolist() == list(range(1, 21))
    assert frame.forwards.tolist() == list(range(1, 21))
    assert frame.best.is_monotonic_decreasing
    assert frame.best.iloc[-1] == frame.score.min()
    assert frame.seconds.is_monotonic_increasing


def test_enumeration_finds_the_least_of_all():
    problem = _problem(W3A3)
    found, score = enumerate_best(problem, joint=True)
    every = [dict(zip(problem.groups, each, strict=True)) for each in product(CHOICES, repeat=3)]
    scores = [problem.score(each) for each in every if problem.fits(each)]
    assert score == min(scores)
    assert problem.score(found) == score
    table = problem.table()
    found, score = enumerate_best(problem)
    assert score == pytest.approx(
        min(additive_score(problem, table, each) for each in every if problem.fits(each))
    )


def test_mistakes_are_named():
    problem = _problem()
    with pytest.raises(BenchError, match=r"unknown group 'blocks\.0\.attn\.qk'.*'blocks\.0\.attn"):
        problem.cost({"blocks.0.attn.qk": CHOICES[0]})
    with pytest.raises(BenchError, match="cannot take W8A8"):
        problem.score(_everywhere(problem, Precision(8, 8)))
    with pytest.raises(BenchError, match="give the recipe an objective"):
        tabular_problem({"a": 1.0}, CHOICES, None, W4A4).table()
    with pytest.raises(BenchError, match="too many to enumerate"):
        enumerate_best(_problem(groups=12))
