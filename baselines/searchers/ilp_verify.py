"""The integer program proposes, joint scores decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpqbench.contracts import Searcher, plugin
from mpqbench.core.errors import BenchError, Exhausted
from mpqbench.search.feasible import Arrays, cheapest_feasible, only_allocation, table_scores
from mpqbench.search.knapsack import TIME_LIMIT, optima

if TYPE_CHECKING:
    from mpqbench.contracts import SearchProblem
    from mpqbench.core.precision import Allocation

VARY = ("cuts", "scores")


@plugin
class ILPVerify(Searcher):
    """Scores ``proposals`` solutions of the integer program jointly and takes the best.

    ``vary`` says how they differ (our choice): "cuts", the N best sums of additive scores, each
    found by excluding those before; "scores", the best sum and the optima of scores multiplied by
    random factors exp(``noise`` z), z standard normal, which lie further apart. ``time_limit`` is
    in seconds for one integer program.
    """

    proposals: int = 16
    vary: str = "cuts"
    noise: float = 0.3
    time_limit: float = TIME_LIMIT

    def __post_init__(self) -> None:
        if self.proposals < 1:
            raise BenchError(f"proposals must be at least 1, not {self.proposals}")
        if self.vary not in VARY:
            raise BenchError(f"vary must be one of {', '.join(VARY)}, not '{self.vary}'")
        if not (self.noise > 0 and self.time_limit > 0):
            raise BenchError("noise and time_limit must be positive")

    def search(self, problem: SearchProblem) -> Allocation:
        """The proposal of least joint score.

        Where the allowance ends, the best one scored until then, or else the first; the cheapest
        allocation where it does not pay for the table. Raises Infeasible where nothing fits.
        """
        only = only_allocation(problem)
        if only is not None:
            return only
        cheapest = cheapest_feasible(problem)
        try:
            scores = table_scores(problem)
        except Exhausted:
            return problem.best() or cheapest
        arrays = Arrays.of(problem)
        proposed = optima(
            scores,
            arrays,
            self.proposals,
            noise=self.noise if self.vary == "scores" else 0,
            rng=problem.rng,
            time_limit=self.time_limit,
        )
        found = [arrays.allocation(each) for each in proposed]
        try:
            return found[int(problem.score_many(found).argmin())]
        except Exhausted:
            return problem.best() or found[0]
