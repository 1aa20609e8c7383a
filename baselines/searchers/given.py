"""An allocation found elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mpqbench.contracts import Searcher, plugin
from mpqbench.core.errors import BenchError, Infeasible, unknown
from mpqbench.core.precision import Allocation, Precision
from mpqbench.search.feasible import of_limits, totals_of

if TYPE_CHECKING:
    from mpqbench.contracts import SearchProblem


@plugin
class Given(Searcher):
    """Takes ``allocation``, ``{group: "W4A3"}`` of every searchable group, as it is.

    For allocations of a paper, of another tool, or of a study that samples them: they are then
    measured like everyone's. Its precisions are among the recipe's choices.
    """

    allocation: Mapping[str, str]
    scored = False

    def __post_init__(self) -> None:
        for text in self.allocation.values():
            Precision.parse(text)

    def search(self, problem: SearchProblem) -> Allocation:
        """The allocation in network order.

        Raises BenchError where it does not cover the groups or takes what is no choice, Infeasible
        where it exceeds the budget.
        """
        for group in self.allocation:
            if group not in problem.groups:
                raise unknown("group", group, problem.groups)
        missing = [group for group in problem.groups if group not in self.allocation]
        if missing:
            raise BenchError(f"the given allocation leaves out {', '.join(missing)}")
        found = Allocation({g: Precision.parse(self.allocation[g]) for g in problem.groups})
        if not problem.fits(found):
            raise Infeasible(
                f"the given allocation exceeds budget {problem.budget}: it takes "
                f"{of_limits(problem, totals_of(problem, found))}"
            )
        return found
