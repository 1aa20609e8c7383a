"""Checks of searchers, on problems of eight groups with scores from a table and from pairs."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..contracts import Searcher
from ..core.errors import BenchError, Exhausted, Infeasible
from ..core.precision import Allocation, Budget, Precision
from ..quant.verify import expect
from ..search.answer import find_answer
from ..search.arrays import Measure
from ..search.budget_costs import choices_within
from ..search.feasible import fitting_uniforms
from ..search.problem import Problem
from ..search.tabular import TabularScorer, additive_score, tabular_problem
from .check import Check, checks_of, expect_raises, expect_repeatable

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
    SearchCase("FP", 0),  # nothing is bounded, so that no score is needed
    *(SearchCase("W4A4", allowance) for allowance in (0, 3, 39, 40, 60)),  # a table takes 40
    *(SearchCase(budget, 60) for budget in ("W3A3", "W8A8", "W2A3", "3b", "W4A4+3b")),
    SearchCase("W4A4+2.5b", 60, choices=APART),  # no choice is the cheapest in both measures
)
LONG = (SearchCase("W4A4", 200), SearchCase("W3A3", 200), SearchCase("W4A4"))
HOPELESS = (SearchCase("W2A2"), SearchCase("W2A2", 0), SearchCase("3b", choices=CHOICES[2:]))


def checks(plugin: Searcher, quick: bool) -> list[Check]:
    """Return all checks of a searcher.

    Only a problem with several bounded measures may be refused, by a BenchError that is not
    Infeasible, or by any where no choice is the cheapest in all measures.
    """
    tests = _SearcherChecks(plugin)
    return [
        *checks_of(SHORT if quick else (*SHORT, *LONG), tests.budget, tests.allowance),
        *checks_of([case for case in SHORT if case.allowance == 60], tests.needs, tests.uniform),
        *checks_of(HOPELESS, tests.infeasible),
        *checks_of([SearchCase("W4A4", 60)], tests.repeatable),
    ]


class _SearcherChecks:
    def __init__(self, plugin: Searcher) -> None:
        self.plugin = plugin
        self.run = functools.cache(self._search)

    def budget(self, case: SearchCase) -> None:
        """Every group gets one of its choices, and the cost is within every limit."""
        problem, found = self.run(case)
        if found is not None:
            kind = type(found).__name__
            expect(isinstance(found, Allocation), f"search gave a {kind}, not an Allocation")
            problem.checked(found)
            for unit, limit, cost in ((m.unit, m.limit, m.of(found)) for m in problem.measures):
                expect(cost <= limit, f"the allocation costs {cost:.6g} of {limit:.6g} {unit}")

    def allowance(self, case: SearchCase) -> None:
        """No more forwards are spent than allowed, and none where ``scored`` is false."""
        spent = self.run(case)[0].spent
        expect(spent <= case.allowance, f"the search spends {spent:g} forwards")
        free = self.plugin.scored or spent == 0
        expect(free, f"a searcher that declares scored = False spends {spent:g} forwards")

    def needs(self, case: SearchCase) -> None:
        """With exactly the allowance that ``needs`` gives, the search ends within that."""
        problem = sample_problem(case)
        need = problem.allowance = float(self.plugin.needs(problem))
        expect(0 <= need < math.inf, f"needs gives {need:g} forwards")
        expect(problem.spent == 0, f"needs spends {problem.spent:g} forwards")
        self._answer(problem, case)
        expect(problem.spent <= need, f"the search spends {problem.spent:g} of {need:g} forwards")

    def uniform(self, case: SearchCase) -> None:
        """By its own scores the answer is not worse than any uniform allocation that fits."""
        problem = sample_problem(case)
        problem.allowance = max(case.allowance, self.plugin.needs(problem))
        found = self._answer(problem, case)
        spent, problem.allowance = problem.spent, math.inf
        if found is None or not spent:
            return
        table, joint = problem.table(), bool(problem.trace.rows)
        for other in fitting_uniforms(problem):
            one, two = (
                problem.joint_score(each) if joint else additive_score(problem, table, each)
                for each in (found, other)
            )
            better = f"{next(iter(other.values()))} everywhere scores {two:.6g}"
            expect(one <= two + 1e-12 * abs(two), f"the answer scores {one:.6g}, and {better}")

    def infeasible(self, case: SearchCase) -> None:
        """Where nothing fits, search raises Infeasible and spends nothing."""
        problem = sample_problem(case)
        expect_raises(Infeasible, "nothing fits, so search", lambda: self.plugin.search(problem))
        expect(problem.spent == 0, f"{problem.spent:g} forwards are spent where nothing fits")

    def repeatable(self, case: SearchCase) -> None:
        """One ``problem.rng`` gives one search, and global generators are left alone."""

        def steps() -> list[Any]:
            problem, found = self._search(case)
            rows = [row[:2] + row[3:] for row in problem.trace.rows]  # all but seconds
            return [rows, [(p.weight_bits, p.activation_bits) for p in found.values()]]

        expect_repeatable("problem.rng", steps)

    def _search(self, case: SearchCase) -> tuple[Problem, Any]:
        """Return the problem after a search, and the answer; ``None`` for a refusal."""
        problem = sample_problem(case)
        return problem, self._refused(case, lambda: self.plugin.search(problem))

    def _answer(self, problem: Problem, case: SearchCase) -> Any:
        """Return the answer that a job would take; ``None`` for a refusal."""
        return self._refused(case, lambda: find_answer(self.plugin, problem, "checked"))

    def _refused(self, case: SearchCase, call: Callable[[], Any]) -> Any:
        """Return what ``call`` gives; ``None`` for a refusal that is allowed."""
        try:
            return call()
        except BenchError as error:
            ended = isinstance(error, (Infeasible, Exhausted))
            apart = case.choices == APART and not isinstance(error, Exhausted)
            if apart or (not ended and "+" in case.budget):
                return None
            raise


def sample_problem(case: SearchCase) -> Problem:
    """Return a new problem, always with the same seed."""
    budget = Budget.parse(case.budget)
    choices = choices_within(budget, case.choices)
    more = []
    if budget.weight_bits is not None:
        table = {group: {p: n * p.weight_bits for p in choices} for group, n in MACS.items()}
        limit = budget.weight_bits * sum(MACS.values())
        more = [Measure("weight-bits", "weight bits", table, limit)]
    problem = tabular_problem(MACS, choices, _scorer(choices), budget, more)
    problem.allowance, problem.rng = case.allowance, np.random.default_rng(7)
    return problem


def _scorer(choices: Sequence[Precision]) -> TabularScorer:
    """Return errors that fall with the bits but for some noise; neighbours partly cancel."""
    rng = np.random.default_rng(5)
    errors = np.array([4.0**-p.weight_bits + 4.0**-p.activation_bits for p in choices])
    additive = {n: rng.lognormal(0, 1) * errors * rng.lognormal(0, 0.2, len(choices)) for n in MACS}
    pairs = {(a, b): -0.5 * np.sqrt(np.outer(additive[a], additive[b])) for a, b in pairwise(MACS)}
    return TabularScorer(dict.fromkeys(MACS, choices), additive, pairs)
