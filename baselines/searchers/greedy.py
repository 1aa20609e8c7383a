"""One step at a time, each the one that pays most for its cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mpqbench.errors import BenchError, Exhausted
from mpqbench.precision import Allocation
from mpqbench.search.feasible import (
    Arrays,
    best_or_cheapest,
    cheapest_feasible,
    only_allocation,
    table_scores,
)

if TYPE_CHECKING:
    from mpqbench.contracts import SearchProblem

Joint = Callable[[list[np.ndarray]], np.ndarray]  # indices (groups,) of each to joint scores
DIRECTIONS = ("promote", "demote")


@dataclass(frozen=True)
class Greedy:
    """Marginal score for marginal cost, from the table or, with ``rescore``, from joint scores.

    "promote" starts at the cheapest allocation and moves, one group at a time, to the choice that
    lowers the score most for its added cost, until no such move fits. "demote" starts at the best
    choice of every group, moves where the score rises least for the excess that it takes away, and
    then promotes with what is left. Costs of several measures are added in units of their limits.
    With ``rescore`` the table proposes one move for each group, the joint scores of these complete
    allocations decide, and the best allocation that was scored is returned (our choice: n scorings
    a step instead of one for every choice of every group).
    """

    direction: str = "promote"
    rescore: bool = False

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise BenchError(f"direction is {' or '.join(DIRECTIONS)}, not '{self.direction}'")

    def search(self, problem: SearchProblem) -> Allocation:
        """An allocation from which no single promotion fits and helps.

        Where the allowance ends it, the best scored jointly, or else the result without
        ``rescore``; without an allowance for the table, the best scored before or the cheapest
        that fits. Raises Infeasible where nothing fits.
        """
        only = only_allocation(problem)
        if only is not None:
            return only
        cheapest = cheapest_feasible(problem)
        try:
            moves = Moves.of(Arrays.of(problem), table_scores(problem))
        except Exhausted:
            return best_or_cheapest(problem)
        if self.rescore:
            with suppress(Exhausted):  # what was scored is in problem.best()
                self._walk(moves, cheapest, partial(_joint, problem, moves.arrays))
            best = problem.best()
            if best is not None:
                return best
        return moves.arrays.allocation(self._walk(moves, cheapest, None))

    def _walk(self, moves: Moves, cheapest: Allocation, joint: Joint | None) -> np.ndarray:
        start = moves.arrays.indices(cheapest)
        if self.direction == "demote":
            start = moves.demoted(start, joint)
        return moves.promoted(start, joint)


@dataclass(frozen=True, eq=False)
class Moves:
    """Steps from one allocation to the next.

    ``scores`` (groups, most choices) and ``costs`` (groups, most choices, measures) are filled up
    with infinity where a group has fewer choices; ``prices`` are costs in units of the limits.
    """

    arrays: Arrays
    scores: np.ndarray
    costs: np.ndarray
    prices: np.ndarray

    @classmethod
    def of(cls, arrays: Arrays, scores: Sequence[np.ndarray]) -> Moves:
        """Steps by these scores, (choices,) for each group."""
        prices = [own.sum(axis=1) for own in arrays.relative()]
        return cls(arrays, _filled(scores), _filled(arrays.costs), _filled(prices))

    def promoted(self, indices: np.ndarray, joint: Joint | None = None) -> np.ndarray:
        """From ``indices`` that fit, down in score until no move fits and helps."""
        indices = indices.copy()
        current = joint([indices])[0] if joint else 0.0
        rows = np.arange(len(indices))
        barred = np.zeros(self.scores.shape, dtype=bool)
        while True:
            gain = self.scores[rows, indices][:, None] - self.scores
            added = np.maximum(self.prices - self.prices[rows, indices][:, None], 1e-15)
            fits = (self._totals(indices) <= self.arrays.limits).all(axis=2)
            step = _step(indices, gain, added, fits & (gain > 0) & ~barred, joint, current)
            if step is None or (joint and step[1] >= current):
                return indices
            changed, score = step
            if self.arrays.fits(changed):
                indices, current = changed, score
            else:  # only rounding made it fit
                at = int(np.flatnonzero(changed != indices)[0])
                barred[at, changed[at]] = True

    def demoted(self, cheapest: np.ndarray, joint: Joint | None = None) -> np.ndarray:
        """From the best choices down in cost until every limit is kept.

        ``cheapest`` where measures pull apart so that no single move lowers the excess.
        """
        indices = self.scores.argmin(axis=1)
        rows = np.arange(len(indices))
        current = joint([indices])[0] if joint else 0.0
        while not self.arrays.fits(indices):
            over = float(self.arrays.excess(self.arrays.total(indices)))
            gain = self.scores[rows, indices][:, None] - self.scores
            with np.errstate(invalid="ignore"):
                relief = over - self.arrays.excess(self._totals(indices))
            valid = (relief > 1e-15) & np.isfinite(self.scores)
            step = _step(indices, gain, np.where(valid, relief, 1.0), valid, joint, current)
            if step is None:
                return cheapest
            indices, current = step
        return indices

    def _totals(self, indices: np.ndarray) -> np.ndarray:
        """Total costs after each single move: (groups, most choices, measures)."""
        own = self.costs[np.arange(len(indices)), indices]
        return self.arrays.total(indices) - own[:, None] + self.costs


def _step(
    indices: np.ndarray,
    gain: np.ndarray,
    per: np.ndarray,
    valid: np.ndarray,
    joint: Joint | None,
    current: float,
) -> tuple[np.ndarray, float] | None:
    """The valid move of most ``gain / per``, both (groups, choices), and its joint score, if any.

    With ``joint``, the best of each group by that ratio, and among these by the measured one.
    """
    ratio = np.where(valid, gain, -np.inf) / np.where(valid, per, 1.0)
    choice = ratio.argmax(axis=1)
    groups = np.flatnonzero(valid.any(axis=1))
    if not groups.size:
        return None
    if joint is None:
        at = int(groups[ratio[groups, choice[groups]].argmax()])
        return _moved(indices, at, int(choice[at])), 0.0
    proposals = [_moved(indices, int(group), int(choice[group])) for group in groups]
    scores = joint(proposals)
    best = int(((current - scores) / per[groups, choice[groups]]).argmax())
    return proposals[best], float(scores[best])


def _moved(indices: np.ndarray, group: int, choice: int) -> np.ndarray:
    changed = indices.copy()
    changed[group] = choice
    return changed


def _filled(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows (choices, ...) of different lengths as one array, infinity where there is none."""
    filled = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), np.inf)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return filled


def _joint(problem: SearchProblem, arrays: Arrays, several: list[np.ndarray]) -> np.ndarray:
    return problem.score_many([arrays.allocation(each) for each in several])
