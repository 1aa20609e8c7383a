"""Checks of searchers, on problems of eight groups with scores from a table and from pairs."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..contracts import Searcher
from ..core.errors import BenchError, Exhausted, Infeasible
from ..core.precision import Allocation, Budget, Precision
from ..search.arrays import Measure
from ..search.budget_costs import choices_within
from ..search.problem import Problem
from ..search.tabular import TabularScorer, tabular_problem
from .check import Check, checks_of, expect, expect_repeatable

CHOICES = tuple(Precision(*bits) for bits in ((2, 3), (2, 4), (4, 3), (4, 4), (8, 8)))
APART = tuple(Precision(*bits) for bits in ((4, 2), (2, 6), (4, 4), (8, 4)))
KINDS = ("attn.qkv", "attn.out", "mlp.up", "mlp.down")
MACS = {f"blocks.{at // 4}.{KINDS[at % 4]}": (2.0, 6.0, 3.0, 5.0)[at % 4] for at in range(8)}


@dataclass(frozen=True)
class SearchCase:
    """One problem: its budget, the forwards that may be spent, and the choices of all groups."""

    budget: str
    allowance: float = math.inf
    choices: tuple[Precision, ...] = CHOICES

    def __str__(self) -> str:
        return f"budget {self.budget}, {self.allowance:g} forwards"


SHORT = (
    *(SearchCase("W4A4", allowance) for allowance in (0, 3, 39, 40, 60)),  # a table takes 40
    *(SearchCase(budget, 60) for budget in ("W3A3", "W8A8", "W2A3", "3b", "W4A4+3b")),
    SearchCase("W4A4+2.5b", 60, choices=APART),  # no choice is the cheapest in both measures
)
LONG = (SearchCase("W4A4", 200), SearchCase("W3A3", 200), SearchCase("W4A4"))
HOPELESS = (SearchCase("W2A2"), SearchCase("W2A2", 0), SearchCase("3b", choices=CHOICES[2:]))
UNBOUNDED = SearchCase("FP")


@dataclass(frozen=True)
class Run:
    """One search: its problem afterwards, and the answer; ``None`` for a refusal."""

    problem: Problem
    found: Any


def checks(plugin: Searcher, quick: bool) -> list[Check]:
    """Return all checks of a searcher.

    Only a problem with several bounded measures may be refused, by a BenchError that is not
    Infeasible, or by any where no choice is the cheapest in all measures.
    """
    own = _SearcherChecks(plugin)
    return [
        *checks_of(SHORT if quick else (*SHORT, *LONG), own.allocation, own.budget, own.allowance),
        *checks_of(HOPELESS, own.infeasible),
        *checks_of([UNBOUNDED], own.unbounded),
        *checks_of([SearchCase("W4A4", 60)], own.repeatable),
    ]


class _SearcherChecks:
    def __init__(self, plugin: Searcher) -> None:
        self.plugin = plugin
        self.run = functools.cache(self._search)

    def allocation(self, case: SearchCase) -> None:
        """Every group gets one of its choices."""
        run = self.run(case)
        if run.found is not None:
            kind = type(run.found).__name__
            expect(isinstance(run.found, Allocation), f"search gave a {kind}, not an Allocation")
            run.problem.checked(run.found)

    def budget(self, case: SearchCase) -> None:
        """The cost is within every limit."""
        run = self.run(case)
        problem, found = run.problem, run.found or {}
        at = {group: problem.choices(group).index(p) for group, p in found.items()}
        cost = sum((problem.costs(group)[index] for group, index in at.items()), np.zeros(1))
        for unit, ours, limit in zip(problem.units, cost, problem.limits(), strict=False):
            expect(ours <= limit, f"the allocation costs {ours:.6g} of {limit:.6g} {unit}")

    def allowance(self, case: SearchCase) -> None:
        """No more forwards are spent than allowed, and none where ``scored`` is false."""
        spent = self.run(case).problem.spent
        expect(spent <= case.allowance, f"the search spends {spent:g} forwards")
        free = self.plugin.scored or spent == 0
        expect(free, f"a searcher that declares scored = False spends {spent:g} forwards")

    def infeasible(self, case: SearchCase) -> None:
        """Where nothing fits, search raises Infeasible and spends nothing."""
        problem = sample_problem(case)
        try:
            given = f"give {self.plugin.search(problem)}"
        except Infeasible:
            given = ""
        except Exception as error:
            given = f"raise {type(error).__name__}: {error}"
        expect(not given, f"nothing fits, so search must raise Infeasible, not {given}")
        expect(problem.spent == 0, f"{problem.spent:g} forwards are spent where nothing fits")

    def unbounded(self, case: SearchCase) -> None:
        """A budget that bounds nothing leaves floating point, and needs no score."""
        run = self.run(case)
        run.problem.checked(run.found)
        spent = run.problem.spent
        expect(spent == 0, f"{spent:g} forwards are spent where there is one choice")

    def repeatable(self, case: SearchCase) -> None:
        """One ``problem.rng`` gives one search, and global generators are left alone."""

        def steps() -> list[Any]:
            run = self._search(case)
            rows = [row[:2] + row[3:] for row in run.problem.trace.rows]  # all but seconds
            bits = [(p.weight_bits, p.activation_bits) for p in run.found.values()]
            return [rows, bits]

        expect_repeatable("problem.rng", steps)

    def _search(self, case: SearchCase) -> Run:
        problem = sample_problem(case)
        try:
            return Run(problem, self.plugin.search(problem))
        except BenchError as error:
            ended = isinstance(error, (Infeasible, Exhausted))
            apart = case.choices == APART and not isinstance(error, Exhausted)
            if apart or (not ended and "+" in case.budget):
                return Run(problem, None)
            raise


def sample_problem(case: SearchCase) -> Problem:
    """Return a new problem, always with the same seed."""
    budget = Budget.parse(case.budget)
    choices = choices_within(budget, case.choices)
    scorer = _scorer(choices)
    more = []
    if budget.weight_bits is not None:
        table = {group: {p: n * p.weight_bits for p in choices} for group, n in MACS.items()}
        limit = budget.weight_bits * sum(MACS.values())
        more = [Measure("weight-bits", "weight bits", table, limit)]
    problem = tabular_problem(MACS, choices, scorer, budget, more)
    problem.allowance, problem.rng = case.allowance, np.random.default_rng(7)
    return problem


def _scorer(own: Sequence[Precision]) -> TabularScorer:
    """Return errors that fall with the bits but for some noise; neighbours partly cancel."""
    rng = np.random.default_rng(5)
    errors = np.array([4.0**-p.weight_bits + 4.0**-p.activation_bits for p in own])
    additive = {n: rng.lognormal(0, 1) * errors * rng.lognormal(0, 0.2, len(own)) for n in MACS}
    pairs = {(a, b): -0.5 * np.sqrt(np.outer(additive[a], additive[b])) for a, b in pairwise(MACS)}
    return TabularScorer(dict.fromkeys(MACS, own), additive, pairs)
