"""Scorers of a model: errors of an engine as scores, with candidates dropped early on demand."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contracts import Objective
from ..core.errors import BenchError
from ..core.precision import Precision
from .engine import Distance, Engine, Partial
from .network import FullPrecision
from .race import dominated


@dataclass(frozen=True)
class EngineScorer(ABC):
    """Scores of an engine's candidates, and the forwards that they took."""

    engine: Engine
    choices: Mapping[str, Sequence[Precision]]

    @abstractmethod
    def means(self, allocations: Sequence[Partial]) -> np.ndarray:
        """Return joint scores (n,), means over all calibration inputs."""

    @abstractmethod
    def price(self, allocation: Partial) -> float:
        """As ``Scorer.price``."""

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """Return the joint score of each group alone, as ``Scorer.table``."""
        before = self.engine.forwards
        entries = [{group: p} for group, own in self.choices.items() for p in own]
        scores = iter(self.means(entries))
        table = {g: np.array([next(scores) for _ in own]) for g, own in self.choices.items()}
        return table, self.engine.forwards - before

    def table_price(self) -> float:
        """Return the price of every entry."""
        return sum(self.price({group: own[0]}) * len(own) for group, own in self.choices.items())

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """As ``Scorer.scores``."""
        before = self.engine.forwards
        return self.means(allocations), self.engine.forwards - before


@dataclass(frozen=True)
class JointScorer(EngineScorer):
    """Scores of an objective in an environment.

    ``distance`` compares outputs; left out, by the mean squared error. An objective without a table
    of its own gets one: the joint score of each group alone. With ``level`` a candidate is dropped
    after a batch of inputs when a cheaper one of the same groups and the same call is certainly
    better (see ``race``). The score of a dropped candidate is that of the best cheaper one that
    stayed, plus the mean difference of the two on the inputs that both have seen.
    """

    cost: Mapping[str, Mapping[Precision, float]]
    objective: Objective
    level: float | None = None
    distance: Distance | None = None

    def means(self, allocations: Sequence[Partial]) -> np.ndarray:
        return self.engine.errors(allocations, self.distance).mean(1)

    def price(self, allocation: Partial) -> float:
        """Return one forward, less what lies before the first group of ``allocation``."""
        return self.engine.price(allocation)

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """As ``Scorer.table``. Raises Exhausted where an objective's own takes above ``afford``."""
        if not self.objective.has_table:
            return super().table(afford)
        before = self.engine.forwards
        with self.engine.within(afford):
            found = self.objective.table(FullPrecision(self.engine, self.choices))
        table = {group: np.asarray(own, dtype=float) for group, own in found.items()}
        return table, self.engine.forwards - before

    def table_price(self) -> float:
        """Return the price of every entry; an objective's own table costs nothing in advance."""
        return 0.0 if self.objective.has_table else super().table_price()

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """As ``Scorer.scores``. Raises BenchError where the objective has only a table."""
        if not self.objective.has_distance:
            name = type(self.objective).__name__
            raise BenchError(f"objective {name} scores single groups and no whole allocation")
        if self.level is None:
            return super().scores(allocations)
        before = self.engine.forwards
        return self._raced(allocations, self.level), self.engine.forwards - before

    def _raced(self, allocations: Sequence[Partial], level: float) -> np.ndarray:
        costs = np.array(
            [sum(self.cost[g][p] for g, p in allocation.items()) for allocation in allocations]
        )
        pools = _of_same_groups(allocations)
        errors = np.empty((len(allocations), 0))
        for number, batch in enumerate(self.engine.batches):
            running = np.concatenate(pools)
            asked = [allocations[int(i)] for i in running]
            found = self.engine.batch_errors(asked, batch, self.distance)
            new = np.full((len(allocations), found.shape[1]), np.nan)
            new[running] = found
            errors = np.concatenate([errors, new], axis=1)
            if number + 1 < len(self.engine.batches):
                pools = [own[~dominated(errors[own], costs[own], level)] for own in pools]
        scores = errors.mean(1)
        for whole, stayed in zip(_of_same_groups(allocations), pools, strict=True):
            for left in np.setdiff1d(whole, stayed):
                cheaper = stayed[costs[stayed] <= costs[left]]
                best = cheaper[scores[cheaper].argmin()]
                behind = np.nanmean(errors[left] - errors[best])
                scores[left] = scores[best] + max(behind, 0.0)
        return scores


def _of_same_groups(allocations: Sequence[Partial]) -> list[np.ndarray]:
    """Return the indices of the allocations that cover the same groups: only these compete."""
    pools: dict[frozenset[str], list[int]] = {}
    for index, allocation in enumerate(allocations):
        pools.setdefault(frozenset(allocation), []).append(index)
    return [np.array(own) for own in pools.values()]
