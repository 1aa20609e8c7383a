"""Each promise of a searcher, broken by one that breaks it and kept by an honest one."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from lying_plugins import broken

from mpqbench.conformance import checks
from mpqbench.core.errors import BenchError, Exhausted, Infeasible
from mpqbench.core.precision import Allocation, Precision
from mpqbench.search.feasible import cheapest_feasible, random_feasible


@dataclass(frozen=True)
class Honest:
    """The best of some random allocations that fit."""

    draws: int = 20

    def search(self, problem):
        found = cheapest_feasible(problem)
        if len(problem.choices(problem.groups[0])) == 1:
            return found
        with suppress(Exhausted):
            self.score(problem)
        return problem.best() or found

    def score(self, problem):
        problem.score_many([random_feasible(problem) for _ in range(self.draws)])


class Mapping(Honest):
    def search(self, problem):
        return dict(super().search(problem))


class Partial(Honest):
    def search(self, problem):
        return Allocation(dict(list(super().search(problem).items())[1:]))


class OwnChoice(Honest):
    def search(self, problem):
        return Allocation(dict.fromkeys(problem.groups, Precision(2, 2)))


class Costly(Honest):
    def search(self, problem):
        found = dict(super().search(problem))
        return Allocation({group: problem.choices(group)[-1] for group in found})


class FirstMeasureOnly(Honest):
    """Spends the BitOPs and overlooks bytes and weight bits."""

    def search(self, problem):
        found = dict(super().search(problem))
        for group in problem.groups:
            for choice in problem.choices(group):
                dearer = found | {group: choice}
                if problem.cost(dearer) <= problem.limit():
                    found = dearer
        return Allocation(found)


class Hopeful(Honest):
    """Takes the cheapest whether or not it fits."""

    def search(self, problem):
        try:
            return super().search(problem)
        except Infeasible:
            return Allocation({group: problem.choices(group)[0] for group in problem.groups})


class TooLate(Honest):
    """Finds out that nothing fits after it has paid for scores."""

    def search(self, problem):
        cheapest = {group: problem.choices(group)[0] for group in problem.groups}
        if len(problem.choices(problem.groups[0])) > 1 and problem.allowance:
            problem.score(cheapest)
        return super().search(problem)


class GivesUp(Honest):
    """Lets Exhausted through."""

    def search(self, problem):
        cheapest_feasible(problem)
        if len(problem.choices(problem.groups[0])) > 1:
            self.score(problem)
        return problem.best() or cheapest_feasible(problem)


class FalseAlarm(Honest):
    """Infeasible, where it only ran out of forwards."""

    def search(self, problem):
        try:
            return GivesUp().search(problem)
        except Exhausted as error:
            raise Infeasible("nothing left") from error


class Forger(Honest):
    """Writes its own account."""

    def search(self, problem):
        found = super().search(problem)
        problem.spent = 0.0
        return found


class Extender(Honest):
    """Raises its own allowance."""

    def search(self, problem):
        problem.allowance = float("inf")
        return super().search(problem)


class Eraser(Honest):
    """Leaves out of the trace what went wrong."""

    def search(self, problem):
        found = super().search(problem)
        del problem.trace.rows[1::2]
        return found


class Shuffler(Honest):
    """Sorts its trace by score."""

    def search(self, problem):
        found = super().search(problem)
        problem.trace.rows.sort(key=lambda row: row[6])
        return found


class Curious(Honest):
    """Scores what is no choice to make."""

    def search(self, problem):
        with suppress(Exhausted):
            problem.score(cheapest_feasible(problem))
        return super().search(problem)


class Discreet(Honest):
    """Says that it needs no score."""

    scored = False


class GlobalDice(Honest):
    def search(self, problem):
        problem.rng = np.random.default_rng(np.random.randint(1000))
        return super().search(problem)


class OwnDice(Honest):
    def search(self, problem):
        problem.rng = np.random.default_rng(random.SystemRandom().randrange(10**9))
        return super().search(problem)


@pytest.mark.parametrize(
    ("liar", "check", "sentence"),
    [
        (Mapping, "allocation", "budget W4A4, 0 forwards: it is a dict, no Allocation"),
        (Partial, "allocation", "lacks group 'blocks.0.attn.qkv'"),
        (OwnChoice, "allocation", "cannot take W2A2"),
        (Costly, "budget", "budget W4A4, 0 forwards: it costs 6.29146e+06 of 1.57286e+06 BitOPs"),
        (FirstMeasureOnly, "budget", "of 18432 weight bits"),
        (Hopeful, "infeasible", "budget W2A2: nothing fits, so search must raise Infeasible"),
        (TooLate, "infeasible", "it spends 1 forwards where nothing fits"),
        (GivesUp, "allowance", "search raised Exhausted"),
        (FalseAlarm, "allowance", "search raised Infeasible: nothing left"),
        (Forger, "counted", "problem.spent is 0, its scorer gave 3"),
        (Extender, "allowance", "budget W4A4, 0 forwards: it spends 20 forwards"),
        (Eraser, "counted", "the trace has 2 rows for 3 scorings"),
        (Discreet, "counted", "it calls itself not scored and spends 3 forwards"),
        (Shuffler, "trace", "evaluations are"),
        (Curious, "unbounded", "budget FP: it spends 1 forwards where there is one choice"),
        (GlobalDice, "deterministic", "global generator of numpy; it must draw from problem.rng"),
        (OwnDice, "deterministic", "two searches with one problem.rng differ"),
    ],
)
def test_a_broken_promise_is_named(liar, check, sentence):
    found = broken("searcher", liar())
    assert check in found
    assert sentence in found[check]


def test_an_honest_searcher_passes():
    assert broken("searcher", Honest()) == {}


def test_several_measures_may_be_refused_but_not_called_infeasible():
    @dataclass(frozen=True)
    class Refusing(Honest):
        error: type = BenchError

        def search(self, problem):
            if np.isfinite(problem.limits()).sum() > 1:
                raise self.error("one measure only")
            return super().search(problem)

    assert broken("searcher", Refusing()) == {}
    assert "search raised Infeasible" in broken("searcher", Refusing(error=Infeasible))["budget"]


def test_few_cases_leave_out_the_long_searches():
    (quick,) = (c for c in checks("searcher", Honest(), quick=True) if c.name == "allocation")
    (full,) = (c for c in checks("searcher", Honest(), quick=False) if c.name == "allocation")
    assert len(quick.run.__self__.cases) < len(full.run.__self__.cases)
