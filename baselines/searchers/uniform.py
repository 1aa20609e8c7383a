"""The same precision everywhere."""

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import BenchError, Infeasible
from mpqbench.core.precision import Allocation, Precision
from mpqbench.search.feasible import compared_with_limits


@plugin
class Uniform(Searcher):
    """The budget's own precision where every group offers it, else the costliest that fits.

    At equal cost more activation bits win, as activations lose more to few bits, and then smaller
    quantization groups (our choice).
    """

    scored = False

    def search(self, problem: SearchProblem) -> Allocation:
        """Return one precision for all groups.

        Raises Infeasible where the cheapest common precision exceeds the budget, BenchError where
        the groups have no precision in common.
        """
        common = set.intersection(*(set(problem.choices(group)) for group in problem.groups))
        if not common:
            raise BenchError("the groups have no precision in common: 'uniform' needs one")
        base = problem.budget.precision
        if base in common and problem.fits(_everywhere(problem, base)):
            return _everywhere(problem, base)
        ranked = sorted(
            common, key=lambda p: (problem.cost(_everywhere(problem, p)), p.activation_bits, p)
        )
        feasible = [p for p in ranked if problem.fits(_everywhere(problem, p))]
        if not feasible:
            takes = compared_with_limits(problem, _everywhere(problem, ranked[0]))
            raise Infeasible(
                f"no uniform precision meets budget {problem.budget}: the cheapest, {ranked[0]}, "
                f"takes {takes}"
            )
        return _everywhere(problem, feasible[-1])


def _everywhere(problem: SearchProblem, precision: Precision) -> Allocation:
    return Allocation(dict.fromkeys(problem.groups, precision))
