"""Random allocations that fit, the best of them kept."""

from pydantic import PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import joint_price, random_feasible, search_scored


@plugin
class RandomSearch(Searcher):
    """The lowest joint score of ``draws`` allocations from ``search.feasible.random_feasible``.

    Allocations are scored ``batch`` at a time; none is scored twice. The allowance may end the
    search earlier.
    """

    draws: PositiveInt = 1000
    batch: PositiveInt = 64

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of one draw."""
        return joint_price(problem, 1)

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the best draw, or the cheapest allocation where none was scored.

        Raises as ``search_scored``.
        """
        return search_scored(problem, lambda arrays: self._draw(problem, arrays))

    def _draw(self, problem: SearchProblem, arrays: Arrays) -> None:
        seen: set[Allocation] = set()
        for start in range(0, self.draws, self.batch):
            number = min(self.batch, self.draws - start)
            drawn = [random_feasible(problem, arrays=arrays) for _ in range(number)]
            new = [allocation for allocation in dict.fromkeys(drawn) if allocation not in seen]
            seen.update(new)
            if new:
                problem.score_many(new)
