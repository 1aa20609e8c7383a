"""Problems whose scores are given numbers, so that a searcher runs without a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from ..core.errors import BenchError
from ..core.precision import Allocation, Budget, Precision
from .arrays import Measure
from .feasible import infeasible
from .problem import Partial, Problem, Scorer

ENUMERATED = 2_000_000  # allocations at most: this many take seconds


@dataclass(frozen=True)
class TabularScorer(Scorer):
    """Sums of a table and of pairwise interactions; every scoring counts as one forward.

    ``additive`` has the scores of each group's ``choices``, ``interactions`` further terms for a
    pair of groups, (choices of the first, choices of the second).
    """

    choices: Mapping[str, Sequence[Precision]]
    additive: Mapping[str, np.ndarray]
    interactions: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """Return joint scores (n,), for one forward each."""
        return np.array([self._score(each) for each in allocations]), float(len(allocations))

    def price(self, allocation: Partial) -> float:
        """Return one forward."""
        return 1.0

    def _score(self, allocation: Partial) -> float:
        at = {group: self.choices[group].index(p) for group, p in allocation.items()}
        alone = sum(self.additive[group][index] for group, index in at.items())
        pairs = [(a, b) for a, b in self.interactions if a in at and b in at]
        return float(alone + sum(self.interactions[a, b][at[a], at[b]] for a, b in pairs))


def tabular_problem(
    macs: Mapping[str, float],
    choices: Sequence[Precision],
    scorer: TabularScorer | None,
    budget: Budget,
    more: Sequence[Measure] = (),
) -> Problem:
    """Return a problem over groups of ``macs``, bounded in BitOPs and in ``more`` measures."""
    ordered = sorted(choices, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits))
    table = {
        g: {p: n * p.weight_bits * p.activation_bits for p in ordered} for g, n in macs.items()
    }
    bits = budget.precision.weight_bits * budget.precision.activation_bits
    limit = math.inf if budget.precision.is_full else sum(macs.values()) * bits
    measures = [Measure("bitops", "BitOPs", table, limit), *more]
    return Problem(tuple(macs), dict.fromkeys(macs, ordered), measures, budget, scorer=scorer)


def enumerate_best(problem: Problem, *, joint: bool = False) -> tuple[Allocation, float]:
    """Return the optimum of the additive table, or of the joint score, by enumeration.

    Raises Infeasible where nothing fits, BenchError for more than two million allocations.
    """
    choices = [problem.choices(group) for group in problem.groups]
    count = math.prod(map(len, choices))
    if count > ENUMERATED:
        raise BenchError(f"{count:,} allocations are too many to enumerate ({ENUMERATED:,})")
    every = (dict(zip(problem.groups, each, strict=True)) for each in product(*choices))
    feasible = [allocation for allocation in every if problem.fits(allocation)]
    if not feasible:
        raise infeasible(problem)
    if joint:
        scores = problem.score_many(feasible)
    else:
        table = problem.table()
        scores = np.array([additive_score(problem, table, each) for each in feasible])
    at = int(scores.argmin())
    return Allocation(feasible[at]), float(scores[at])


def additive_score(problem: Problem, table: Mapping[str, np.ndarray], allocation: Partial) -> float:
    """Return the sum of the table entries of an allocation."""
    return float(sum(table[g][list(problem.choices(g)).index(p)] for g, p in allocation.items()))
