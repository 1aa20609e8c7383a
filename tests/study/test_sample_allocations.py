"""Sampled allocations keep the budget, differ, and reach from nearly uniform to mixed."""

from __future__ import annotations

import numpy as np
import pytest
from chains import random_problem

from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Budget, Precision
from mpqbench.lab.study.proxies import sample_allocations

CHOICES = [Precision(w, a) for w in (2, 3, 4, 5) for a in (3, 4, 5)]
W3A3 = Precision(3, 3)


def _problem(choices=CHOICES, groups=24):
    return random_problem(groups, choices, Budget.parse("W3A3"), seed=5)


def _sampled(seed=0, count=30):
    problem = _problem()
    return problem, sample_allocations(problem, count, np.random.default_rng(seed))


def test_they_fit_and_differ_and_one_seed_gives_them_again():
    problem, found = _sampled()
    assert len(set(found)) == len(found) == 30
    assert all(problem.fits(each) for each in found)
    assert found == _sampled()[1]
    assert found != _sampled(seed=1)[1]


def test_more_and_more_groups_leave_the_budgets_precision():
    _, found = _sampled()
    moved = [sum(own != W3A3 for own in each.values()) for each in found]
    assert 1 <= min(moved[:3]) <= max(moved[:3]) <= 2
    assert max(moved[-3:]) > 12
    assert np.corrcoef(moved, range(30))[0, 1] > 0.9


def test_what_cheaper_groups_save_is_spent_on_dearer_ones():
    problem, found = _sampled()
    costs = [
        [problem.cost({g: p}) - problem.cost({g: W3A3}) for g, p in each.items()] for each in found
    ]
    assert all(min(own) < 0 for own in costs[5:])
    assert sum(max(own) > 0 for own in costs) > 25
    assert np.median([problem.cost(each) / problem.limit() for each in found]) > 0.9


def test_samples_start_from_the_budgets_precision():
    problem = _problem([Precision(2, 3), Precision(4, 4)])
    with pytest.raises(BenchError, match="W3A3 is no choice"):
        sample_allocations(problem, 20, np.random.default_rng(0))


def test_too_few_allocations_are_named():
    problem = _problem([Precision(2, 3), W3A3], groups=2)
    with pytest.raises(BenchError, match="too few"):
        sample_allocations(problem, 20, np.random.default_rng(0))
