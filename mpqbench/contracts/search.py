"""Contracts of search: the problem that a searcher is given, and the searcher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..core.precision import Allocation, Budget, Precision
from .base import Plugin

if TYPE_CHECKING:
    import numpy as np


class SearchProblem(Protocol):
    """All that a searcher can see. It cannot reach the model, so every searcher is counted alike.

    Costs add up over groups, in one or several measures, BitOPs first; ``units`` says what each
    measure counts ("BitOPs", "bytes", "weight bits"). Lower scores are better. ``spent`` and
    ``allowance`` are in full forwards of the calibration set: ``table``, ``score`` and
    ``score_many`` raise Exhausted instead of spending more than the allowance. Of complete
    allocations the uniform ones that fit are scored first, unasked: ``best`` is never worse.
    """

    groups: Sequence[str]
    units: Sequence[str]
    budget: Budget
    rng: np.random.Generator
    spent: float
    allowance: float

    def choices(self, group: str) -> Sequence[Precision]:
        """Return the precisions that ``group`` may take, cheapest first."""

    def costs(self, group: str) -> np.ndarray:
        """Return what each choice of ``group`` adds: (choices, measures) float64."""

    def limits(self) -> np.ndarray:
        """Return the bound of each measure: (measures,), infinity for no bound."""

    def cost(self, allocation: Mapping[str, Precision]) -> float:
        """Return the first measure of an allocation, which may be partial."""

    def limit(self) -> float:
        """Return the bound on ``cost``."""

    def fits(self, allocation: Mapping[str, Precision]) -> bool:
        """Return whether ``allocation`` keeps every bound."""

    def table(self) -> Mapping[str, np.ndarray]:
        """Return additive scores by group, in the order of its choices: (choices,) float64 each."""

    def score(self, allocation: Mapping[str, Precision]) -> float:
        """Return the joint score; groups that a partial allocation omits are the environment."""

    def score_many(self, allocations: Sequence[Mapping[str, Precision]]) -> np.ndarray:
        """Return joint scores (n,) float64, often much faster than one by one."""

    def price(self, allocation: Mapping[str, Precision]) -> float:
        """Return the most forwards that scoring ``allocation`` can take."""

    def table_price(self) -> float:
        """Return the most forwards that ``table`` can take, 0 where that is not declared."""

    def best(self) -> Allocation | None:
        """Return the best complete allocation within the bounds that was scored jointly so far."""

    def note(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add rows to a table that is kept beside the trace, for figures."""

    def remark(self, sentence: str) -> None:
        """Add to the notes of the record what the search gave up or replaced."""


class Searcher(Plugin, ABC):
    """Finds an allocation within the budget.

    ``scored`` is false for a searcher that never asks the problem for a score: objective,
    environment and allowance then change nothing, and an ablation does not run such jobs twice.
    """

    kind: ClassVar[str] = "searcher"
    scored: bool = True

    def needs(self, problem: SearchProblem) -> float:
        """Return the least allowance, in forwards, with which the search is what its name says.

        ``problem`` has prices and no scores. A plan whose allowance is smaller is refused.
        """
        return 0.0

    @abstractmethod
    def search(self, problem: SearchProblem) -> Allocation:
        """Return an allocation of every group. Raises Infeasible where none meets the budget."""
