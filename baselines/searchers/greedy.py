"""Greedy search: one step at a time, each with the most gain for its cost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import Exhausted
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import cheapest_feasible, search_table

Joint = Callable[[list[np.ndarray]], np.ndarray]  # indices (groups,) of each to joint scores


@plugin
class Greedy(Searcher):
    """Marginal score for marginal cost, from the table or, with ``rescore``, from joint scores.

    "promote" starts at the cheapest allocation and moves, one group at a time, to the choice that
    lowers the score most for its added cost, until no such move fits. "demote" starts at the best
    choice of every group, moves where the score rises least for the excess that is removed, and
    then promotes with the rest of the budget. Costs of several measures are added in units of their
    limits.

    With ``rescore`` the table proposes one move for each group, the joint scores of these complete
    allocations decide, and the best allocation that was scored is returned (our choice: n scorings
    a step instead of one for every choice of every group). Steps that the allowance does not pay
    for are decided by the table.
    """

    direction: Literal["promote", "demote"] = "promote"
    rescore: bool = False

    def search(self, problem: SearchProblem) -> Allocation:
        """Return an allocation from which no single promotion fits and helps.

        Raises as ``search_table``.
        """

        def choose(arrays: Arrays, scores: Sequence[np.ndarray]) -> Allocation:
            moves = Moves.of(arrays, scores)
            walk = Walk(moves, partial(_joint, problem, arrays) if self.rescore else None)
            start = arrays.indices(cheapest_feasible(problem))
            if self.direction == "demote":
                start = walk.demoted(start)
            found = arrays.allocation(walk.promoted(start))
            # A walk on joint scores alone may have met a better allocation than its last one.
            return (problem.best() if walk.joint else None) or found

        return search_table(problem, choose)


@dataclass(frozen=True, eq=False)
class Moves:
    """All moves of one group to another choice.

    ``scores`` (groups, most choices) and ``costs`` (groups, most choices, measures) hold infinity
    where a group has fewer choices; ``prices`` are costs in units of the limits.
    """

    arrays: Arrays
    scores: np.ndarray
    costs: np.ndarray
    prices: np.ndarray

    @classmethod
    def of(cls, arrays: Arrays, scores: Sequence[np.ndarray]) -> "Moves":
        """Return the moves with these scores, (choices,) for each group."""
        prices = [own.sum(axis=1) for own in arrays.relative()]
        return cls(arrays, _filled(scores), _filled(arrays.costs), _filled(prices))

    def totals(self, indices: np.ndarray) -> np.ndarray:
        """Return total costs after each single move: (groups, most choices, measures)."""
        own = self.costs[np.arange(len(indices)), indices]
        return self.arrays.total(indices) - own[:, None] + self.costs


@dataclass
class Walk:
    """Single moves, decided by ``joint`` scores while the allowance lasts, then by the table."""

    moves: Moves
    joint: Joint | None

    def promoted(self, indices: np.ndarray) -> np.ndarray:
        """Lower the score from ``indices``, which fit, until no move fits and helps."""
        moves, rows = self.moves, np.arange(len(indices))
        indices, current = indices.copy(), self._score(indices)
        barred = np.zeros(moves.scores.shape, dtype=bool)
        while True:
            gain = moves.scores[rows, indices][:, None] - moves.scores
            added = np.maximum(moves.prices - moves.prices[rows, indices][:, None], 1e-15)
            fits = (moves.totals(indices) <= moves.arrays.limits).all(axis=2)
            gain = np.where(fits & (gain > 0) & ~barred, gain, -np.inf)
            step = self._step(indices, gain, added, current)
            if step is None or (self.joint and step[1] >= current):
                return indices
            changed, score = step
            if moves.arrays.fits(changed):
                indices, current = changed, score
            else:  # only rounding made it fit
                at = int(np.flatnonzero(changed != indices)[0])
                barred[at, changed[at]] = True

    def demoted(self, cheapest: np.ndarray) -> np.ndarray:
        """Lower the cost from the best choices until every limit is kept.

        Returns ``cheapest`` where no single move lowers the excess, as measures pull apart.
        """
        moves, indices = self.moves, self.moves.scores.argmin(axis=1)
        rows = np.arange(len(indices))
        current = self._score(indices)
        while not moves.arrays.fits(indices):
            over = float(moves.arrays.excess(moves.arrays.total(indices)))
            gain = moves.scores[rows, indices][:, None] - moves.scores
            with np.errstate(invalid="ignore"):
                relief = over - moves.arrays.excess(moves.totals(indices))
            valid = (relief > 1e-15) & np.isfinite(moves.scores)
            step = self._step(indices, np.where(valid, gain, -np.inf), relief, current)
            if step is None:
                return cheapest
            indices, current = step
        return indices

    def _step(
        self, indices: np.ndarray, gain: np.ndarray, per: np.ndarray, current: float
    ) -> tuple[np.ndarray, float] | None:
        """Return the move of most ``gain / per``, both (groups, choices), and its joint score.

        A gain of minus infinity bars a move; ``None`` if all are barred. With ``joint``, the moves
        with the largest ratio of each group are scored jointly, and the measured ratio decides.
        """
        valid = ~np.isneginf(gain)
        ratio = gain / np.where(valid, per, 1.0)
        choice = ratio.argmax(axis=1)
        groups = np.flatnonzero(valid.any(axis=1))
        if not groups.size:
            return None
        if self.joint:
            proposals = [_moved(indices, int(group), int(choice[group])) for group in groups]
            with self._allowed():
                scores = self.joint(proposals)
                best = int(((current - scores) / per[groups, choice[groups]]).argmax())
                return proposals[best], float(scores[best])
        at = int(groups[ratio[groups, choice[groups]].argmax()])
        return _moved(indices, at, int(choice[at])), 0.0

    def _score(self, indices: np.ndarray) -> float:
        if self.joint:
            with self._allowed():
                return float(self.joint([indices])[0])
        return 0.0

    @contextmanager
    def _allowed(self) -> Iterator[None]:
        """Give up ``joint`` where the allowance ends."""
        try:
            yield
        except Exhausted:
            self.joint = None


def _moved(indices: np.ndarray, group: int, choice: int) -> np.ndarray:
    changed = indices.copy()
    changed[group] = choice
    return changed


def _filled(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Stack rows (choices, ...) of different lengths, with infinity where there is no choice."""
    filled = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), np.inf)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return filled


def _joint(problem: SearchProblem, arrays: Arrays, several: list[np.ndarray]) -> np.ndarray:
    return problem.score_many([arrays.allocation(each) for each in several])
