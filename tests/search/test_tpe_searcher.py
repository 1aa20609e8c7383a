"""TPE: better than chance, obeys limits, allowance and the problem's generator, and is quiet."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mpqbench.baselines.searchers.tpe import TPE
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import Budget, Precision
from mpqbench.search.feasible import cheapest_feasible
from mpqbench.search.measures import Measure
from mpqbench.search.tabular import enumerate_best, random_problem, tabular_problem

CHOICES = [Precision(w, a) for w in (2, 4) for a in (3, 4)]
W3A3 = Budget.parse("W3A3")


def _problem(groups=4, seed=0, choices=CHOICES, budget=W3A3, **options):
    return random_problem(groups, choices, budget, seed=seed, coupling=-0.8, **options)


def test_it_finds_the_optimum_of_a_small_problem():
    problem = _problem(3, seed=1)
    found = TPE(trials=60, startup=20).search(problem)
    assert problem.score(found) == pytest.approx(enumerate_best(problem, joint=True)[1])


def test_what_it_learned_is_better_than_chance():
    problem = _problem(8, seed=2)
    TPE(trials=90, startup=40).search(problem)
    scores = [row[6] for row in problem.trace.rows]
    assert len(scores) == 90
    assert all(row[5] for row in problem.trace.rows)
    assert np.median(scores[60:]) < np.median(scores[:40])


def test_it_is_decided_by_the_problem_and_quiet(capfd):
    def run(seed):
        problem = _problem(5)
        problem.rng = np.random.default_rng(seed)
        TPE(trials=25, startup=10, batch=4).search(problem)
        return [row[6] for row in problem.trace.rows]

    assert run(1) == run(1)
    assert run(1) != run(2)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("allowance", [0, 1, 13])
def test_an_allowance_is_kept(allowance):
    problem = _problem(5, allowance=allowance)
    found = TPE(trials=20, startup=5).search(problem)
    assert problem.spent == allowance
    assert found == (problem.best() if allowance else cheapest_feasible(problem))


def test_nothing_fits():
    with pytest.raises(Infeasible, match="the least that can be reached"):
        TPE().search(_problem(choices=[Precision(4, 4), Precision(8, 8)]))


def test_one_choice_is_not_scored():
    problem = _problem(choices=[Precision(3, 3)])
    assert set(TPE().search(problem).values()) == {Precision(3, 3)}
    assert problem.spent == 0


def test_several_limits_hold_at_once():
    base = _problem(3)
    bits = {g: {p: float(p.weight_bits) for p in CHOICES} for g in base.groups}
    macs = {g: base.costs(g)[0, 0] / 6 for g in base.groups}
    more = [Measure("weight-bits", "bits", bits, 8.0)]
    problem = tabular_problem(macs, CHOICES, base._scorer, W3A3, more=more)
    found = TPE(trials=20, startup=10).search(problem)
    assert problem.fits(found)
    assert all(row[5] for row in problem.trace.rows)


def test_without_optuna_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BenchError, match=r"pip install 'mpqbench\[search\]'"):
        TPE().search(_problem())


@pytest.mark.parametrize("name", ["trials", "startup", "batch"])
def test_mistakes_are_named(name):
    with pytest.raises(BenchError, match=f"{name} must be at least 1"):
        TPE(**{name: 0})
