"""An allocation found elsewhere."""

from collections.abc import Mapping

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import BenchError, Infeasible, unknown
from mpqbench.core.precision import Allocation, Precision
from mpqbench.search.feasible import compared_with_limits


@plugin
class Given(Searcher):
    """Takes ``allocation``, ``{group: "W4A3"}`` of every searchable group, as it is.

    It measures allocations of a paper, of another tool or of a study like those of any other
    searcher. The precisions must be among the recipe's choices.
    """

    allocation: Mapping[str, str]
    scored = False

    def __post_init__(self) -> None:
        for text in self.allocation.values():
            Precision.parse(text)

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the allocation in network order.

        Raises BenchError where the allocation does not cover the groups or takes a precision that
        is not a choice, and Infeasible where it exceeds the budget.
        """
        for group in self.allocation:
            if group not in problem.groups:
                raise unknown("group", group, problem.groups)
        missing = [group for group in problem.groups if group not in self.allocation]
        if missing:
            raise BenchError(f"the given allocation leaves out {', '.join(missing)}")
        found = Allocation({g: Precision.parse(self.allocation[g]) for g in problem.groups})
        if not problem.fits(found):
            takes = compared_with_limits(problem, found)
            raise Infeasible(
                f"the given allocation exceeds budget {problem.budget}: it takes {takes}"
            )
        return found
