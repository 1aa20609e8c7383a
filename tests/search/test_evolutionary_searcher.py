"""Evolutionary search: finds small optima, obeys limits, allowance and the problem's generator."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from mpqbench.baselines.searchers.evolutionary import Evolutionary
from mpqbench.baselines.searchers.ilp import ILP
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import Budget, Precision
from mpqbench.search.feasible import Arrays, cheapest_feasible
from mpqbench.search.measures import Measure
from mpqbench.search.repair import repaired
from mpqbench.search.tabular import enumerate_best, random_problem, tabular_problem

CHOICES = [Precision(w, a) for w in (2, 4) for a in (3, 4)]
W3A3 = Budget.parse("W3A3")


def _problem(groups=4, seed=0, choices=CHOICES, budget=W3A3, **options):
    return random_problem(groups, choices, budget, seed=seed, coupling=-0.8, **options)


def test_it_finds_the_optimum_of_small_problems():
    for seed in range(3):
        problem = _problem(seed=seed)
        found = Evolutionary(population=20, generations=8).search(problem)
        best = enumerate_best(_problem(seed=seed), joint=True)[1]
        assert problem.score(found) == pytest.approx(best)


def test_generations_improve_on_the_first_random_one():
    problem = _problem(12, seed=3)
    Evolutionary(population=20, generations=6).search(problem)
    best = [row[-1] for row in problem.trace.rows]
    assert best[-1] < best[19]
    assert all(row[5] for row in problem.trace.rows)  # every one scored fits
    assert len(problem.trace.rows) == 20 + 5 * 50
    assert len({row[6] for row in problem.trace.rows}) > 200


def test_the_defaults_are_the_settings_of_q_dit():
    problem = _problem(16, choices=[Precision(w, a) for w in (2, 3, 4) for a in (3, 4)])
    Evolutionary().search(problem)
    assert problem.spent == 500


def test_the_first_generation_may_be_the_integer_programs():
    seeded, plain, drawn = (_problem(12, seed=3) for _ in range(3))
    found = Evolutionary(population=10, generations=3, first="ilp").search(seeded)
    optimum = plain.score(ILP().search(plain))
    Evolutionary(population=10, generations=1).search(drawn)
    scores = [row[6] for row in seeded.trace.rows]
    assert scores[0] == optimum
    assert np.mean(scores[:10]) < np.mean([row[6] for row in drawn.trace.rows])
    assert seeded.score(found) == min(scores) < optimum


def test_without_an_allowance_for_the_table_the_cheapest_is_the_answer():
    problem = _problem(6, allowance=5)
    found = Evolutionary(first="ilp").search(problem)
    assert problem.spent == 0
    assert found == cheapest_feasible(problem)


def test_it_is_decided_by_the_problem_and_leaves_global_generators_alone():
    def run(seed):
        problem = _problem(10)
        problem.rng = np.random.default_rng(seed)
        Evolutionary(population=10, generations=3).search(problem)
        return [row[6] for row in problem.trace.rows]

    np.random.seed(5)
    first, state = run(1), np.random.get_state()[1].tolist()
    np.random.seed(6)
    assert run(1) == first
    assert run(2) != first
    np.random.seed(5)
    assert np.random.get_state()[1].tolist() == state


@pytest.mark.parametrize("allowance", [0, 1, 7, 30])
def test_an_allowance_is_kept(allowance):
    problem = _problem(8, allowance=allowance)
    found = Evolutionary(population=10, generations=5).search(problem)
    assert problem.spent == allowance
    assert problem.fits(found)
    assert found == (problem.best() if allowance else cheapest_feasible(problem))


def test_nothing_fits():
    with pytest.raises(Infeasible, match="the least that can be reached"):
        Evolutionary().search(_problem(choices=[Precision(4, 4), Precision(8, 8)]))


def test_one_choice_is_not_scored():
    problem = _problem(choices=[Precision(3, 3)])
    assert set(Evolutionary().search(problem).values()) == {Precision(3, 3)}
    assert problem.spent == 0


def test_several_limits_hold_at_once():
    base = _problem()
    bits = {g: {p: float(p.weight_bits) for p in CHOICES} for g in base.groups}
    macs = {g: base.costs(g)[0, 0] / 6 for g in base.groups}
    more = [Measure("weight-bits", "bits", bits, 10.0)]
    problem = tabular_problem(macs, CHOICES, base._scorer, W3A3, more=more)
    found = Evolutionary(population=20, generations=8).search(problem)
    assert all(row[5] for row in problem.trace.rows)
    assert problem.score(found) == pytest.approx(enumerate_best(problem, joint=True)[1])


def test_repair_changes_nothing_that_fits_and_only_makes_cheaper():
    problem = _problem(8)
    arrays, rng = Arrays.of(problem), np.random.default_rng(0)
    for _ in range(50):
        asked = rng.integers(4, size=8)
        given = asked.copy()
        found = repaired(problem, arrays, asked, rng)
        assert (asked == given).all()
        assert arrays.fits(found)
        assert (found <= asked).all()
        assert (found == asked).all() == arrays.fits(asked)
        lifted = [np.where(np.arange(8) == g, asked, found) for g in np.flatnonzero(found < asked)]
        assert not lifted or not all(map(arrays.fits, lifted))  # the last step was needed


def test_without_pymoo_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymoo.algorithms.soo.nonconvex.ga", None)
    with pytest.raises(BenchError, match=r"pip install 'mpqbench\[search\]'"):
        Evolutionary().search(_problem())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"population": 0}, "population must be at least 1"),
        ({"parents": 0}, "parents must be at least 1"),
        ({"crossovers": 0, "mutations": 0}, "nor both zero"),
        ({"crossovers": -1}, "must not be negative"),
        ({"mutation_rate": 1.5}, "mutation_rate must be from 0 to 1"),
    ],
)
def test_mistakes_are_named(parameters, message):
    with pytest.raises(BenchError, match=message):
        Evolutionary(**parameters)
