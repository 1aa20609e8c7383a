"""Small problems that can be enumerated, for the tests of all searchers."""

import math

import numpy as np
from chains import random_problem

from mpqbench.core.precision import Budget, Precision
from mpqbench.search.arrays import Measure
from mpqbench.search.tabular import TabularScorer, additive_score, tabular_problem

FREE = Budget.parse("FP")
BUDGETS = [Budget.parse(text) for text in ("W2A3", "W3A3", "W3A4")]
FOUR = [Precision(w, a) for w in (2, 4) for a in (3, 4)]
SIX = [Precision(*bits) for bits in ((2, 3), (2, 4), (3, 3), (4, 3), (3, 4), (4, 4))]
SQUARE = [Precision(bits, bits) for bits in (2, 3, 4, 5, 6)]
GRID = [Precision(w, a) for w in (2, 3, 4, 5, 6, 8) for a in (3, 4, 5, 6, 8)]
TOO_DEAR = [Precision(4, 4), Precision(8, 8)]


def chain(groups=4, seed=0, choices=FOUR, budget="W3A3", coupling=-0.8, allowance=math.inf):
    """Groups whose neighbours interact."""
    budget = Budget.parse(budget)
    problem = random_problem(groups, choices, budget, seed=seed, coupling=coupling)
    problem.allowance = allowance
    return problem


def of_scores(scores, choices, budget=FREE, macs=None, more=()):
    """The problem of a table {group: scores}; every group has one MAC where none are given."""
    scorer = TabularScorer(dict.fromkeys(scores, choices), scores)
    macs = dict.fromkeys(scores, 1.0) if macs is None else macs
    return tabular_problem(macs, choices, scorer, budget, more=more)


def weight_bits(groups, choices, limit):
    """A second measure: the sum of weight bits over groups."""
    table = {group: {p: float(p.weight_bits) for p in choices} for group in groups}
    return Measure("weight-bits", "bits", table, limit)


def noisy(seed, whole=False, several=True):
    """Scores of any sign, in no order, over many magnitudes.

    Costs are whole numbers for even seeds or where asked for. A third of the problems bound a
    second measure, unless ``several`` is false.
    """
    rng = np.random.default_rng(seed)
    names = [f"g{number}" for number in range(rng.integers(1, 6))]
    scores = {g: rng.normal(size=6) * rng.lognormal(0, 3) for g in names}
    random = seed % 2 and not whole
    macs = {g: rng.random() if random else float(rng.integers(1, 9)) * 2.0**20 for g in names}
    more = []
    if several and seed % 3 == 0:
        table = {g: {p: p.weight_bits * rng.uniform(0.5, 1.5) for p in SIX} for g in names}
        more = [Measure("weight-bits", "bits", table, 3 * len(names) * rng.uniform(0.6, 1.3))]
    return of_scores(scores, SIX, BUDGETS[seed // 3 % 3], macs, more)


def two_limits(groups=4):
    """A chain that is bounded in weight bits too."""
    base = chain(groups)
    macs = {group: base.costs(group)[0, 0] / 6 for group in base.groups}
    more = [weight_bits(base.groups, FOUR, 2.5 * groups)]
    return tabular_problem(macs, FOUR, base.scorer, BUDGETS[1], more=more)


def opposed(limit):
    """W2A4 is cheap in weight bits and dear in activation bits, W4A2 the other way round."""
    two, names = [Precision(2, 4), Precision(4, 2)], [f"g{number}" for number in range(4)]
    table = {g: {p: p.activation_bits for p in two} for g in names}
    weights = {g: {p: p.weight_bits for p in two} for g in names}
    more = [
        Measure("a", "activation bits", table, limit),
        Measure("w", "weight bits", weights, limit),
    ]
    scores = {g: np.array([0.0, number]) for number, g in enumerate(names)}
    return of_scores(scores, two, more=more)


def table_score(problem, allocation):
    """The sum of the table's scores of an allocation."""
    return additive_score(problem, problem.table(), allocation)


def scores_of(problem):
    """All scores of the trace, in order."""
    return [row[6] for row in problem.trace.rows]
