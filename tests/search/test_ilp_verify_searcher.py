"""Proposals of the integer program against the sorted list of all allocations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mpqbench.baselines.searchers.ilp_verify import ILPVerify
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import Budget, Precision
from mpqbench.search.feasible import cheapest_feasible
from mpqbench.search.measures import Measure
from mpqbench.search.tabular import additive_score, random_problem, tabular_problem

CHOICES = [Precision(w, a) for w in (2, 4) for a in (3, 4)]
W3A3 = Budget.parse("W3A3")


def _problem(groups=4, seed=0, choices=CHOICES, budget=W3A3, **options):
    return random_problem(groups, choices, budget, seed=seed, coupling=-0.8, **options)


def _ranked(problem):
    """All allocations that fit, the best additive score first."""
    every = [
        dict(zip(problem.groups, each, strict=True))
        for each in product(*(problem.choices(group) for group in problem.groups))
    ]
    table = problem.table()
    return sorted(
        filter(problem.fits, every), key=lambda each: additive_score(problem, table, each)
    )


def test_it_takes_the_best_joint_score_of_the_best_sums():
    for seed in range(3):
        problem = _problem(seed=seed)
        found = ILPVerify(proposals=6).search(problem)
        best = _ranked(problem)[:6]
        scores = [problem.score(each) for each in best]
        assert problem.score(found) == pytest.approx(min(scores))
        assert [row[6] for row in problem.trace.rows[:6]] == pytest.approx(scores)


def test_one_proposal_is_the_integer_program():
    problem = _problem()
    assert dict(ILPVerify(proposals=1).search(problem)) == _ranked(problem)[0]
    assert problem.spent == 4 * 4 + 1


@pytest.mark.parametrize("vary", ["cuts", "scores"])
def test_proposals_are_distinct_and_as_many_as_there_are(vary):
    problem = _problem(2)
    ILPVerify(proposals=40, vary=vary).search(problem)
    assert len(problem.trace.rows) == len(_ranked(_problem(2)))
    assert all(row[5] for row in problem.trace.rows)


def test_varied_scores_lie_further_apart_and_start_with_the_optimum():
    def costs(vary):
        problem = _problem(8, seed=2)
        ILPVerify(proposals=8, vary=vary, noise=1.0).search(problem)
        sums = [row[6] for row in problem.trace.rows]
        return sums[0], np.std(sums)

    assert costs("cuts")[0] == costs("scores")[0]
    assert costs("cuts")[1] < costs("scores")[1]
    assert costs("scores") == costs("scores")


@pytest.mark.parametrize("allowance", [0, 16, 18, 100])
def test_an_allowance_is_kept(allowance):
    problem = _problem(allowance=allowance)
    found = ILPVerify(proposals=5).search(problem)
    assert problem.spent == min(allowance, 16 + 5)
    assert problem.fits(found)
    if allowance == 0:
        assert found == cheapest_feasible(problem)
    if allowance == 16:
        assert dict(found) == _ranked(_problem())[0]
    if allowance > 16:
        assert found == problem.best()


def test_several_limits_hold_at_once():
    base = _problem()
    bits = {g: {p: float(p.weight_bits) for p in CHOICES} for g in base.groups}
    macs = {g: base.costs(g)[0, 0] / 6 for g in base.groups}
    more = [Measure("weight-bits", "bits", bits, 10.0)]
    problem = tabular_problem(macs, CHOICES, base._scorer, W3A3, more=more)
    found = ILPVerify(proposals=4).search(problem)
    assert problem.score(found) == pytest.approx(min(map(problem.score, _ranked(problem)[:4])))


def test_nothing_fits():
    with pytest.raises(Infeasible, match="the least that can be reached"):
        ILPVerify().search(_problem(choices=[Precision(4, 4), Precision(8, 8)]))


def test_one_choice_is_not_scored():
    problem = _problem(choices=[Precision(3, 3)])
    assert set(ILPVerify().search(problem).values()) == {Precision(3, 3)}
    assert problem.spent == 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"proposals": 0}, "proposals must be at least 1"),
        ({"vary": "budget"}, "vary must be one of cuts, scores"),
        ({"noise": 0}, "must be positive"),
    ],
)
def test_mistakes_are_named(parameters, message):
    with pytest.raises(BenchError, match=message):
        ILPVerify(**parameters)
