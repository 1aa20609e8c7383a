"""The integer program proposes, joint scores decide."""

from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import Exhausted
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import joint_price, remark_end, search_table
from mpqbench.search.knapsack import TIME_LIMIT, optima, perturbed


@plugin
class ILPVerify(Searcher):
    """Scores ``proposals`` solutions of the integer program jointly and takes the best.

    ``vary`` says how the solutions differ (our choice): "cuts" takes the best sums of additive
    scores, each found by excluding those before it; "scores" takes the best sum and the optima of
    scores multiplied by random factors exp(``noise`` z), z standard normal, which lie further
    apart. ``time_limit`` is in seconds for one integer program.
    """

    proposals: PositiveInt = 16
    vary: Literal["cuts", "scores"] = "cuts"
    noise: PositiveFloat = 0.3
    time_limit: PositiveFloat = TIME_LIMIT

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of the table and of all proposals."""
        return problem.table_price() + joint_price(problem, self.proposals)

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the solution of least joint score.

        Where the allowance ends, the best one scored until then, or else the first, is returned.
        Raises as ``search_table``.
        """

        def choose(arrays: Arrays, scores: list[np.ndarray]) -> Allocation:
            noise = self.noise if self.vary == "scores" else 0.0
            programs = perturbed(scores, self.proposals, noise, problem.rng)
            found = [arrays.allocation(each) for each in optima(programs, arrays, self.time_limit)]
            if len(found) < self.proposals:
                problem.remark(f"nothing but {len(found)} of {self.proposals} proposals fits")
            try:
                return found[int(problem.score_many(found).argmin())]
            except Exhausted:
                best = problem.best()
                remark_end(problem, "the best sum" if best is None else "the best one scored")
                return best or found[0]

        return search_table(problem, choose)
