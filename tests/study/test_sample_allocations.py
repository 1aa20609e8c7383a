"""Sampled allocations keep the budget, differ, and reach from nonsense to sense."""

from __future__ import annotations

import numpy as np

from mpqbench.precision import Budget, Precision
from mpqbench.search.tabular import random_problem
from mpqbench.study.sample import sample_allocations

CHOICES = [Precision(w, a) for w in (2, 3, 4, 5) for a in (3, 4, 5)]


def _problem():
    return random_problem(24, CHOICES, Budget.parse("W3A3"), seed=5)


def _sampled(seed=0, count=30):
    problem = _problem()
    return problem, sample_allocations(problem, count, np.random.default_rng(seed))


def test_they_fit_and_differ_and_one_seed_gives_them_again():
    problem, found = _sampled()
    assert len(set(found)) == len(found) == 30
    assert all(problem.fits(each) for each in found)
    assert found == _sampled()[1]
    assert found != _sampled(seed=1)[1]


def test_made_up_sensitivities_spend_the_budget_and_are_better_than_chance():
    problem, found = _sampled()
    spent = np.array([problem.cost(each) for each in found]) / problem.limit()
    assert spent[15:].min() > 0.97
    scores = problem.score_many(found)
    assert np.median(scores[15:]) < np.median(scores[:15])


def test_an_odd_number_is_met():
    assert len(_sampled(count=21)[1]) == 21
