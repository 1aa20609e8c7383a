"""Problems to check a searcher on: costs of a tiny DiT, scores from a table and from pairs."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..core.precision import Budget, Precision
from ..dit.groups import layer_groups
from ..search.budget_costs import choices_within, measures
from ..search.problem import Partial, Problem
from ..search.tabular import TabularScorer
from .models import tiny_transformer

CHOICES = tuple(Precision(*bits) for bits in ((2, 3), (2, 4), (4, 3), (4, 4), (8, 8)))
APART = tuple(Precision(*bits) for bits in ((4, 2), (2, 6), (4, 4), (8, 4)))
TABLE_PRICE = 22.5  # forwards: five choices of eight groups, see CountingScorer


@dataclass(frozen=True)
class Case:
    """One problem. ``scores``: "plain", "flat" (all zero) or "negative", as decibels are.

    With ``apart`` the choices that are cheapest in one measure are not so in another.
    """

    budget: str
    allowance: float = math.inf
    scores: str = "plain"
    choices: tuple[Precision, ...] = CHOICES
    apart: bool = False

    @property
    def several(self) -> bool:
        """Whether several measures are bounded."""
        return "+" in self.budget

    def __str__(self) -> str:
        scores = "" if self.scores == "plain" else f", {self.scores} scores"
        if math.isinf(self.allowance):
            return f"budget {self.budget}{scores}"
        return f"budget {self.budget}{scores}, {self.allowance:g} forwards"


class CountingScorer:
    """Scores of ``numbers``, counting for itself; a scoring costs what lies behind its first group,
    in eighths of a forward, so that sums are exact.
    """

    def __init__(self, numbers: TabularScorer) -> None:
        self.numbers, self.groups = numbers, list(numbers.choices)
        self.forwards, self.scored = 0.0, 0

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """The additive part, as if every entry were scored."""
        self.forwards += self.table_price()
        return self.numbers.additive, self.table_price()

    def table_price(self) -> float:
        """The price of every entry."""
        entries = ({g: p} for g, own in self.numbers.choices.items() for p in own)
        return sum(map(self.price, entries))

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """Joint scores (n,), and their prices added."""
        forwards = sum(map(self.price, allocations))
        self.forwards += forwards
        self.scored += len(allocations)
        return self.numbers.scores(allocations)[0], forwards

    def price(self, allocation: Partial) -> float:
        """The share of the groups from the first one on."""
        first = min((self.groups.index(group) for group in allocation), default=len(self.groups))
        return 1 - first / len(self.groups)


def problem_of(case: Case) -> tuple[Problem, CountingScorer]:
    """A fresh problem, always with the same seed, and its scorer."""
    transformer, groups = _model()
    budget = Budget.parse(case.budget)
    own = choices_within(budget, case.choices)
    names = [group.name for group in groups if group.searchable]
    scorer = CountingScorer(_numbers(names, own, case.scores))
    problem = Problem(
        names,
        dict.fromkeys(names, own),
        measures(transformer, groups, budget, own),
        budget,
        scorer=scorer,
        allowance=case.allowance,
        seed=7,
    )
    return problem, scorer


def _numbers(names: Sequence[str], own: Sequence[Precision], kind: str) -> TabularScorer:
    """Errors fall with the bits but for some noise, and neighbours' errors partly cancel."""
    rng = np.random.default_rng(5)
    errors = np.array([4.0**-p.weight_bits + 4.0**-p.activation_bits for p in own])
    additive = {n: rng.lognormal(0, 1) * errors * rng.lognormal(0, 0.2, len(own)) for n in names}
    pairs = {(a, b): -0.5 * np.sqrt(np.outer(additive[a], additive[b])) for a, b in pairwise(names)}
    if kind == "flat":
        return TabularScorer(dict.fromkeys(names, own), {n: np.zeros(len(own)) for n in names})
    if kind == "negative":
        additive = {name: 10 * np.log10(scores) for name, scores in additive.items()}
    return TabularScorer(dict.fromkeys(names, own), additive, pairs)


@functools.cache
def _model() -> tuple[Any, Any]:
    transformer = tiny_transformer("meta")
    return transformer, layer_groups(transformer)
