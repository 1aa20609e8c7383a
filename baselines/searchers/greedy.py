"""Greedy search: one step at a time, each with the most gain for its cost."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import Exhausted
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import cheapest_feasible, joint_price, search_table

Joint = Callable[[Sequence[np.ndarray]], np.ndarray]  # indices (groups,) each to joint scores


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
    for are decided by the table, and that is remarked.
    """

    direction: Literal["promote", "demote"] = "promote"
    rescore: bool = False

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of the table and, with ``rescore``, of the start and one step."""
        joint = joint_price(problem, 1 + len(problem.groups)) if self.rescore else 0.0
        return problem.table_price() + joint

    def search(self, problem: SearchProblem) -> Allocation:
        """Return an allocation from which no single promotion fits and helps.

        Raises as ``search_table``.
        """

        def choose(arrays: Arrays, scores: Sequence[np.ndarray]) -> Allocation:
            def joint(several: Sequence[np.ndarray]) -> np.ndarray:
                return problem.score_many([arrays.allocation(indices) for indices in several])

            walk = Walk(arrays, scores, joint if self.rescore else None)
            start = arrays.indices(cheapest_feasible(problem))
            if self.direction == "demote":
                start = walk.demoted(start)
            found = arrays.allocation(walk.promoted(start))
            # A walk on joint scores alone may have met a better allocation than its last one.
            return (problem.best() if walk.joint else None) or found

        return search_table(problem, choose)


class Walk:
    """Moves of one group at a time, decided by ``joint`` scores while the allowance lasts.

    Without ``joint``, and once the allowance has ended, the table decides. ``scores`` and
    ``prices``, costs in units of the limits, are (groups, most choices), ``costs`` (groups, most
    choices, measures), with infinity where a group has fewer choices.
    """

    def __init__(
        self, arrays: Arrays, scores: Sequence[np.ndarray], joint: Joint | None = None
    ) -> None:
        self.arrays, self.joint, self.rows = arrays, joint, np.arange(len(scores))
        self.scores, self.costs = _filled(scores), _filled(arrays.costs)
        self.prices = _filled([costs.sum(axis=1) for costs in arrays.relative()])

    def promoted(self, indices: np.ndarray) -> np.ndarray:
        """Lower the score from ``indices``, which fit, until no move fits and helps."""
        indices, current = indices.copy(), self._score(indices)
        barred = np.zeros(self.scores.shape, dtype=bool)
        while True:
            gain = self.scores[self.rows, indices][:, None] - self.scores
            added = np.maximum(self.prices - self.prices[self.rows, indices][:, None], 1e-15)
            fits = (self._totals(indices) <= self.arrays.limits).all(axis=2)
            gain = np.where(fits & (gain > 0) & ~barred, gain, -np.inf)
            step = self._step(indices, gain, added, current)
            if step is None or (self.joint and step[1] >= current):
                return indices
            changed, score = step
            if self.arrays.fits(changed):
                indices, current = changed, score
            else:  # only rounding made it fit
                at = int(np.flatnonzero(changed != indices)[0])
                barred[at, changed[at]] = True

    def demoted(self, cheapest: np.ndarray) -> np.ndarray:
        """Lower the cost from the best choices until every limit is kept.

        Returns ``cheapest`` where no single move lowers the excess, as measures pull apart.
        """
        indices = self.scores.argmin(axis=1)
        current = self._score(indices)
        while not self.arrays.fits(indices):
            over = float(self.arrays.excess(self.arrays.total(indices)))
            gain = self.scores[self.rows, indices][:, None] - self.scores
            with np.errstate(invalid="ignore"):
                relief = over - self.arrays.excess(self._totals(indices))
            valid = (relief > 1e-15) & np.isfinite(self.scores)
            step = self._step(indices, np.where(valid, gain, -np.inf), relief, current)
            if step is None:
                self.arrays.remark(
                    "no single move lowers the excess: the walk began at the cheapest allocation"
                )
                return cheapest
            indices, current = step
        return indices

    def _totals(self, indices: np.ndarray) -> np.ndarray:
        """Return total costs after each single move: (groups, most choices, measures)."""
        now = self.costs[self.rows, indices]
        return self.arrays.total(indices) - now[:, None] + self.costs

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
        proposals = [np.where(self.rows == group, choice, indices) for group in groups]
        scores = self._scored(proposals)
        if scores is None:
            return proposals[ratio[groups, choice[groups]].argmax()], 0.0
        best = int(((current - scores) / per[groups, choice[groups]]).argmax())
        return proposals[best], float(scores[best])

    def _score(self, indices: np.ndarray) -> float:
        scores = self._scored([indices])
        return 0.0 if scores is None else float(scores[0])

    def _scored(self, several: Sequence[np.ndarray]) -> np.ndarray | None:
        """Return joint scores, ``None`` without ``joint``, which ends with the allowance."""
        if self.joint is None:
            return None
        try:
            return self.joint(several)
        except Exhausted:
            self.joint = None
            self.arrays.remark(
                "the allowance ended before the last step: the table decided the steps after that, "
                "and the answer is the best allocation scored, if any was"
            )
            return None


def _filled(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Stack rows (choices, ...) of different lengths, with infinity where there is no choice."""
    filled = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), np.inf)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return filled
