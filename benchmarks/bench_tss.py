"""Scorings and seconds of tree-structured search over chains of 12 to 96 groups.

Scores come from tables, so the seconds are those of the search itself and of counting. Both should
double with the groups: scorings are at most (n - 1) keep^2 after the leaves.
"""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from mpqbench.methods.treeq.tss import TSS
from mpqbench.precision import Budget, Precision
from mpqbench.search.tabular import random_problem

GROUPS = (12, 24, 48, 96)
CHOICES = [Precision(w, a) for w in (2, 3, 4, 5, 6, 8) for a in (3, 4, 5, 6, 8)]
RATIO = 2.3


def problem_of(groups):
    return random_problem(groups, CHOICES, Budget.parse("W4A4"), seed=0, coupling=0.5)


@pytest.mark.parametrize("groups", GROUPS)
def bench_tss(benchmark, groups):
    setup = lambda: ((problem_of(groups),), {})  # noqa: E731 - what pytest-benchmark asks for
    benchmark.pedantic(TSS().search, setup=setup, rounds=3, warmup_rounds=1)


def seconds_of(groups):
    """Scorings and the least processor seconds of three runs."""
    seconds = []
    for _ in range(3):
        problem = problem_of(groups)
        start = time.process_time()
        TSS().search(problem)
        seconds.append(time.process_time() - start)
    return problem.spent, min(seconds)


def test_scorings_and_seconds_double_with_the_groups():
    TSS().search(problem_of(2))  # imports
    measured = [seconds_of(groups) for groups in GROUPS]
    for groups, (spent, seconds) in zip(GROUPS, measured, strict=True):
        print(f"{groups:3} groups: {spent:6.0f} scorings, {seconds:5.2f} s")
        assert spent <= groups * len(CHOICES) + (groups - 1) * 16**2
    for before, after in pairwise(measured):
        assert after[0] / before[0] <= RATIO
    assert (measured[-1][1] / measured[0][1]) ** (1 / 3) <= RATIO  # of one doubling, on average
