"""Problems whose scores are given numbers, so that a searcher runs without a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np

from ..core.errors import BenchError
from ..core.precision import Allocation, Budget, Precision
from .feasible import infeasible
from .measures import Measure
from .problem import Partial, Problem

ENUMERATED = 2_000_000  # allocations at most: this many take seconds


@dataclass(frozen=True)
class TabularScorer:
    """Sums of a table and of pairwise interactions; every scoring counts as one forward.

    ``choices`` gives the precisions of each group and ``additive`` their scores, in order.
    ``interactions`` maps a pair of groups to further terms, (choices of the first, choices of the
    second). A partial allocation sums the terms of its own groups.
    """

    choices: Mapping[str, Sequence[Precision]]
    additive: Mapping[str, np.ndarray]
    interactions: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """Return the additive part, for one forward per entry."""
        return self.additive, self.table_price()

    def table_price(self) -> float:
        """Return the number of entries."""
        return float(sum(len(own) for own in self.choices.values()))

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
    own = sorted(choices, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits))
    table = {g: {p: n * p.weight_bits * p.activation_bits for p in own} for g, n in macs.items()}
    bits = budget.precision.weight_bits * budget.precision.activation_bits
    limit = math.inf if budget.precision.is_full else sum(macs.values()) * bits
    measures = [Measure("bitops", "BitOPs", table, limit), *more]
    return Problem(tuple(macs), dict.fromkeys(macs, own), measures, budget, scorer=scorer)


def random_problem(
    groups: int, choices: Sequence[Precision], budget: Budget, *, seed: int, coupling: float = 0.0
) -> Problem:
    """Return a synthetic chain whose error halves per bit of weights and of activations.

    Group k has a random sensitivity s_k and scores ``s_k (4^-w + r_k 4^-a)``. Neighbours interact
    by ``coupling`` times the geometric mean of their scores (our choice: errors of one sign add
    up). ``seed`` also seeds the problem's own generator.
    """
    rng = np.random.default_rng(seed)
    names = [f"blocks.{index // 4}.{_KINDS[index % 4]}" for index in range(groups)]
    own = sorted(choices, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits))
    additive = {}
    for name in names:
        sensitivity, ratio = rng.lognormal(0, 1.5), rng.lognormal(0, 0.7)
        errors = [4.0**-p.weight_bits + ratio * 4.0**-p.activation_bits for p in own]
        additive[name] = sensitivity * np.array(errors)
    interactions = {
        (a, b): coupling * np.sqrt(np.outer(additive[a], additive[b])) for a, b in pairwise(names)
    }
    macs = {name: float(rng.integers(1, 9)) for name in names}
    each = dict.fromkeys(names, own)
    scorer = TabularScorer(each, additive, interactions if coupling else {})
    problem = tabular_problem(macs, own, scorer, budget)
    problem.rng = np.random.default_rng(seed)
    return problem


_KINDS = ("attn.qkv", "attn.out", "mlp.up", "mlp.down")


def enumerate_best(problem: Problem, *, joint: bool = False) -> tuple[Allocation, float]:
    """Return the exact optimum of the additive table, or of the joint score, by enumeration.

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
