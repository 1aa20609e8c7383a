"""What scores cost, known before a model is loaded, and whether an allowance pays for a search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contracts import Objective, Searcher
from ..core.errors import BenchError
from ..core.precision import Precision
from .problem import ROUNDING, Partial, Problem, Scorer


@dataclass(frozen=True)
class Prices(Scorer):
    """The prices of an objective on groups that take ``shares`` of one forward; no scores.

    ``shares`` has all groups in network order, ``choices`` those that are searched.
    """

    choices: Mapping[str, Sequence[Precision]]
    shares: Mapping[str, float]
    objective: Objective

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        raise BenchError("this problem has prices and no scores")

    def price(self, allocation: Partial) -> float:
        """Return one forward from the first group on, or one for each step ahead."""
        if not self.objective.has_distance:
            name = type(self.objective).__name__
            raise BenchError(f"objective {name} scores single groups and no whole allocation")
        if self.objective.steps_ahead > 0:
            return float(self.objective.steps_ahead)
        names = list(self.shares)
        first = min(map(names.index, allocation), default=len(names))
        return sum(list(self.shares.values())[first:])

    def table_price(self) -> float:
        if not self.objective.has_table:
            return super().table_price()
        counts = {group: len(choices) for group, choices in self.choices.items()}
        return self.objective.table_price(self.shares, counts)


def check_allowance(searcher: Searcher, problem: Problem, name: str) -> None:
    """Raise BenchError where the allowance of ``problem`` is less than ``searcher`` needs."""
    searched = any(len(problem.choices(group)) > 1 for group in problem.groups)
    if not (searched and searcher.scored and math.isfinite(problem.allowance)):
        return
    need = searcher.needs(problem)
    if need > problem.allowance * (1 + ROUNDING):
        most = max(len(problem.choices(group)) for group in problem.groups)
        raise BenchError(
            f"searcher '{name}' needs at least {math.ceil(need * 100) / 100:.10g} evaluations for "
            f"{len(problem.groups)} groups of up to {most} choices at {problem.budget}, and has "
            f"{problem.allowance:.10g}: raise evaluations or give it fewer choices"
        )
