"""Scorers of a model: errors of an engine as scores, with candidates dropped early on demand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from ..contracts import Objective
from ..core.errors import BenchError
from ..core.precision import Precision
from .engine import Distance, Engine, Partial
from .network import FullPrecision
from .problem import Scorer

FEWEST = 8  # inputs before a candidate may be dropped: with fewer, a t interval says little
BATCH = 16  # inputs between two decisions; our choice: see benchmarks/README.md


@dataclass(frozen=True)
class JointScorer(Scorer):
    """Scores of an objective in an environment, means over all calibration inputs.

    ``distance`` compares outputs; left out, the objective's does. With ``level`` a candidate is
    dropped after a batch of inputs when a cheaper one of the same groups and the same call is
    certainly better (see ``dominated``). The score of a dropped candidate is that of the best
    cheaper one that stayed, plus the mean difference of the two on the inputs that both have seen.
    """

    engine: Engine
    choices: Mapping[str, Sequence[Precision]]
    cost: Mapping[str, Mapping[Precision, float]]
    objective: Objective
    level: float | None = None
    distance: Distance | None = None

    @property
    def _measure(self) -> Distance:
        return self.distance or self.objective.distance

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        if not self.objective.has_table:
            return Scorer.table(replace(self, level=None), afford)
        self.engine.forwards = 0.0
        with self.engine.within(afford):
            found = self.objective.table(FullPrecision(self.engine, self.choices))
        table = {group: np.asarray(scores, dtype=float) for group, scores in found.items()}
        return table, self.engine.forwards

    def table_price(self) -> float:
        """Return the price of every entry; an objective's own table costs nothing in advance."""
        return 0.0 if self.objective.has_table else super().table_price()

    def price(self, allocation: Partial) -> float:
        """Return one forward, less what lies before the first group of ``allocation``."""
        return self.engine.price(allocation)

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """As ``Scorer.scores``. Raises BenchError where the objective has only a table."""
        if not self.objective.has_distance:
            name = type(self.objective).__name__
            raise BenchError(f"objective {name} scores single groups and no whole allocation")
        self.engine.forwards = 0.0  # a sum is rounded: the same whatever was scored before
        if self.level is None:
            scores = self.engine.errors(allocations, self._measure).mean(1)
        else:
            scores = self._raced(allocations, self.level)
        return scores, self.engine.forwards

    def _raced(self, allocations: Sequence[Partial], level: float) -> np.ndarray:
        costs = np.array(
            [sum(self.cost[g][p] for g, p in allocation.items()) for allocation in allocations]
        )
        groups = [frozenset(allocation) for allocation in allocations]
        # Only allocations of the same groups compete.
        alike = [
            np.flatnonzero([other == one for other in groups]) for one in dict.fromkeys(groups)
        ]
        pools = alike
        errors = np.empty((len(allocations), 0))
        for number, batch in enumerate(self.engine.batches):
            running = np.concatenate(pools)
            asked = [allocations[int(i)] for i in running]
            found = self.engine.batch_errors(asked, batch, self._measure)
            new = np.full((len(allocations), found.shape[1]), np.nan)
            new[running] = found
            errors = np.concatenate([errors, new], axis=1)
            if number + 1 < len(self.engine.batches):
                pools = [pool[~dominated(errors[pool], costs[pool], level)] for pool in pools]
        scores = errors.mean(1)
        for whole, stayed in zip(alike, pools, strict=True):
            for left in np.setdiff1d(whole, stayed):
                cheaper = stayed[costs[stayed] <= costs[left]]
                best = cheaper[scores[cheaper].argmin()]
                behind = np.nanmean(errors[left] - errors[best])
                scores[left] = scores[best] + max(behind, 0.0)
        return scores


def dominated(errors: np.ndarray, costs: np.ndarray, level: float) -> np.ndarray:
    """Return which of n candidates are significantly dominated: (n,) bool.

    ``errors`` (n, inputs) are of the same inputs for all, so that differences are paired; ``costs``
    is (n,). A candidate is dominated where another one costs no more and has a lower mean error by
    a one-sided paired t test at ``level`` divided by n - 1, the number of tests (Bonferroni). The
    level is nominal, as errors are skewed and the test is repeated with every batch (our choice).
    With fewer than 8 inputs no candidate is dominated. After Hoeffding races (Maron and Moore,
    1994) and F-Race (Birattari et al., 2002).
    """
    count, inputs = errors.shape
    if inputs < FEWEST or count < 2:
        return np.zeros(count, dtype=bool)
    bound = float(t.isf(level / (count - 1), inputs - 1))
    shared = errors - errors.mean(0)  # keeps digits: inputs have much in common
    means = shared.mean(1)
    covariances = np.cov(shared)
    each = covariances.diagonal()
    variances = np.maximum(each[:, None] + each - 2 * covariances, 0)  # of differences of pairs
    spread = np.sqrt(variances / inputs)
    behind = means[:, None] - means  # of the candidate of a row, behind that of a column
    cheaper = costs <= costs[:, None]
    return (cheaper & (behind > 0) & (behind > bound * spread)).any(1)
