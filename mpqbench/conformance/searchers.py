"""What every searcher promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..contracts import Searcher
from ..core.errors import BenchError, Exhausted, Infeasible
from ..core.precision import Allocation
from ..search.problem import Problem
from .check import Check, attempt, check_of, expect, own_generators_only
from .problems import APART, CHOICES, TABLE_PRICE, Case, CountingScorer, problem_of

FEW = (0, 3, TABLE_PRICE - 0.125, TABLE_PRICE, 40)  # forwards; a table is one step above the third
ANSWERED = (
    *(Case("W4A4", allowance) for allowance in FEW),
    Case("W3A3", 40),
    Case("W8A8", 30),
    Case("W2A3", 30),
    Case("3b", 30),
    Case("0.0215MB", 30),
    Case("W4A4+3b", 40),
    Case("W4A8+0.0225MB+3.5b", 3),
    Case("W4A4+2.5b", 30, choices=APART, apart=True),
    Case("W4A4", 30, "flat"),
    Case("W4A4", 30, "negative"),
)
MANY = (Case("W4A4", 120), Case("W3A3", 120), Case("W4A4"), Case("W4A4+3b", 80))
HOPELESS = (
    Case("W2A2"),
    Case("W2A2", 0),
    Case("3b", choices=CHOICES[2:]),
    Case("W4A4+0.0203MB", 3),
)
REPEATED = Case("W4A4", 40)
ANSWER = "an allocation that fits must be found"


@dataclass(frozen=True)
class Run:
    """One search: its problem and scorer afterwards, and what it gave."""

    problem: Problem
    scorer: CountingScorer
    found: Any


class SearcherChecks:
    """The checks of one searcher, on problems of eight groups; searches are shared between them.

    A searcher may refuse several bounded measures by a BenchError that is not Infeasible, which is
    wrong where something fits, unless no choice is the cheapest in all measures.
    """

    def __init__(self, plugin: Searcher, quick: bool) -> None:
        self.plugin = plugin
        self.cases = ANSWERED if quick else (*ANSWERED, *MANY)
        self._runs: dict[Case, Run | None] = {}

    def all(self) -> list[Check]:
        """All checks."""
        methods = [self.allocation, self.budget, self.infeasible, self.allowance, self.counted]
        return [check_of(m) for m in (*methods, self.trace, self.unbounded, self.deterministic)]

    def allocation(self) -> None:
        """Every group gets one of its choices."""
        for case, run in self._answers():
            kind = type(run.found).__name__
            expect(isinstance(run.found, Allocation), f"{case}: it is a {kind}, no Allocation")
            attempt(case, "checking it", partial(run.problem.checked, run.found), ANSWER)

    def budget(self) -> None:
        """What it costs is within every limit, also of several measures and without forwards."""
        for case, run in self._answers():
            problem = run.problem
            for at, (unit, limit) in enumerate(zip(problem.units, problem.limits(), strict=True)):
                index = {g: problem.choices(g).index(p) for g, p in run.found.items()}
                cost = sum(problem.costs(g)[i, at] for g, i in index.items())
                expect(cost <= limit, f"{case}: it costs {cost:.6g} of {limit:.6g} {unit}")

    def infeasible(self) -> None:
        """Where nothing fits it says Infeasible, and spends nothing to find out."""
        for case in HOPELESS:
            problem, scorer = problem_of(case)
            error = _error(partial(self.plugin.search, problem))
            if case.several and isinstance(error, BenchError) and not _ends_search(error):
                continue
            given = "an allocation" if error is None else f"{type(error).__name__}: {error}"
            expect(
                isinstance(error, Infeasible),
                f"{case}: nothing fits, so search must raise Infeasible, not give {given}",
            )
            expect(
                scorer.forwards == 0,
                f"{case}: it spends {scorer.forwards:g} forwards where nothing fits",
            )

    def allowance(self) -> None:
        """It never spends more than its allowance, and answers however small that is."""
        for case, run in self._answers():
            spent = run.scorer.forwards
            expect(spent <= case.allowance, f"{case}: it spends {spent:g} forwards")

    def counted(self) -> None:
        """What the problem says was spent and scored is what its scorer was asked for."""
        for case, run in self._answers():
            spent, asked = run.problem.spent, run.scorer.forwards
            expect(spent == asked, f"{case}: problem.spent is {spent:g}, its scorer gave {asked:g}")
            rows, scored = len(run.problem.trace.rows), run.scorer.scored
            expect(rows == scored, f"{case}: the trace has {rows} rows for {scored} scorings")
            if not self.plugin.scored:
                expect(
                    asked == 0, f"{case}: it calls itself not scored and spends {asked:g} forwards"
                )

    def trace(self) -> None:
        """Evaluations are numbered, forwards and seconds never fall, the best never rises."""
        for case, run in self._answers():
            rows = run.problem.trace.rows
            numbers = [row[0] for row in rows]
            expect(numbers == list(range(1, len(rows) + 1)), f"{case}: evaluations are {numbers}")
            for before, after in pairwise(rows):
                where = f"{case}: from evaluation {before[0]} to {after[0]}"
                expect(before[1] <= after[1], f"{where} forwards fall to {after[1]:g}")
                expect(before[2] <= after[2], f"{where} seconds fall")
                expect(not after[-1] > before[-1], f"{where} the best rises to {after[-1]:g}")

    def unbounded(self) -> None:
        """A budget that bounds nothing leaves floating point, and needs no score."""
        case = Case("FP")
        problem, scorer = problem_of(case)
        found = attempt(case, "search", lambda: self.plugin.search(problem), ANSWER)
        attempt(case, "checking it", lambda: problem.checked(found), ANSWER)
        expect(
            scorer.forwards == 0,
            f"{case}: it spends {scorer.forwards:g} forwards where there is one choice",
        )

    def deterministic(self) -> None:
        """One ``problem.rng`` gives one search, and global random generators are left alone."""
        found = []
        for seed in (1, 2):
            with own_generators_only(REPEATED, seed, "draw from problem.rng"):
                run = self._search(REPEATED)
            steps = [row[:2] + row[3:] for row in run.problem.trace.rows]  # all but seconds
            found.append((dict(run.found), np.array(steps, dtype=float)))
        same = np.array_equal(found[0][1], found[1][1], equal_nan=True)
        expect(
            found[0][0] == found[1][0] and same,
            f"{REPEATED}: two searches with one problem.rng differ; they must be identical",
        )

    def _answers(self) -> Iterator[tuple[Case, Run]]:
        """Every case and its search, but those that the searcher may refuse."""
        for case in self.cases:
            if case not in self._runs:
                self._runs[case] = self._answer(case)
            run = self._runs[case]
            if run is not None:
                yield case, run

    def _answer(self, case: Case) -> Run | None:
        try:
            return self._search(case)
        except AssertionError as error:
            cause = error.__cause__
            refused = isinstance(cause, BenchError) and not _ends_search(cause)
            if (case.several and refused) or (case.apart and isinstance(cause, Infeasible)):
                return None
            raise

    def _search(self, case: Case) -> Run:
        problem, scorer = problem_of(case)
        found = attempt(case, "search", lambda: self.plugin.search(problem), ANSWER)
        return Run(problem, scorer, found)


def _error(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


def _ends_search(error: Exception) -> bool:
    """Whether it is one of the errors that say how a search went, and no refusal to begin."""
    return isinstance(error, (Infeasible, Exhausted))
