"""Random allocations that fit, the best of them kept."""

import numpy as np
from pydantic import PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import Exhausted
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import only_allocation, random_feasible


@plugin
class RandomSearch(Searcher):
    """The lowest joint score of ``draws`` allocations from ``search.feasible.random_feasible``.

    Allocations are scored ``batch`` at a time; none is scored twice. The allowance may end the
    search earlier.
    """

    draws: PositiveInt = 1000
    batch: PositiveInt = 64

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the best draw, or the first where the allowance pays for no score.

        Raises Infeasible where nothing fits.
        """
        only = only_allocation(problem)
        if only is not None:
            return only
        arrays = Arrays.of(problem)
        seen: set[Allocation] = set()
        best, lowest = None, float("inf")
        for start in range(0, self.draws, self.batch):
            number = min(self.batch, self.draws - start)
            drawn = [random_feasible(problem, arrays=arrays) for _ in range(number)]
            best = drawn[0] if best is None else best
            new = [allocation for allocation in dict.fromkeys(drawn) if allocation not in seen]
            seen.update(new)
            try:
                scores = problem.score_many(new) if new else np.empty(0)
            except Exhausted:
                return problem.best() or best
            for allocation, score in zip(new, scores, strict=True):
                if score < lowest:
                    best, lowest = allocation, float(score)
        assert best is not None
        return best
