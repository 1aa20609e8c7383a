"""Dynamic programming over one measure."""

import numpy as np
from pydantic import PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import BenchError
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import search_table
from mpqbench.search.knapsack import common_divisor, undominated


@plugin
class DynamicProgramming(Searcher):
    """The least sum of table scores by the recursion over groups and budget left (as RobuQ does).

    Costs above the cheapest choice are counted in units of their common divisor, which is exact,
    where the budget left holds at most ``resolution`` units. Otherwise costs are rounded up to a
    grid of ``resolution`` buckets: the budget is never exceeded, and less than one bucket for each
    group may stay unused, so the result is no worse than the optimum of a budget smaller by that
    much, and that is remarked.
    """

    resolution: PositiveInt = 100_000

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of the table."""
        return problem.table_price()

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the optimum of the table, up to the grid.

        Raises as ``search_table``, and BenchError where several measures are bounded.
        """
        bounded = np.flatnonzero(np.isfinite(problem.limits()))
        if len(bounded) > 1:
            raise BenchError(f"'dp' takes one bounded measure, not {len(bounded)}: use 'ilp'")

        def choose(arrays: Arrays, scores: list[np.ndarray]) -> Allocation:
            if not len(bounded):
                return arrays.allocation([int(row.argmin()) for row in scores])
            buckets, capacity = self._buckets(arrays, int(bounded[0]))
            return arrays.allocation(_recursion(scores, buckets, capacity))

        return search_table(problem, choose)

    def _buckets(self, arrays: Arrays, measure: int) -> tuple[list[np.ndarray], int]:
        """Return costs above each group's least in whole buckets, and the number of buckets."""
        costs = [every[:, measure] for every in arrays.costs]
        lowest = [cost.min() for cost in costs]
        above = [cost - low for cost, low in zip(costs, lowest, strict=True)]
        limit = float(arrays.limits[measure])
        left = min(limit - sum(lowest), sum(cost.max() for cost in above))
        divisor = common_divisor(np.concatenate(costs))
        unit = common_divisor(np.concatenate(above)) if divisor else 0.0
        if unit and left // unit <= self.resolution:
            return [(cost / unit).astype(int) for cost in above], int(left // unit)
        left = max(left - 1e-12 * abs(limit), 0.0)  # sums are rounded too
        if not left:
            return [(cost > 0).astype(int) for cost in above], 0
        unit = left / self.resolution
        arrays.remark(
            f"costs were rounded up to {self.resolution} buckets of the budget: the sum may not be "
            "the least"
        )
        return [np.ceil(cost / unit).astype(int) for cost in above], self.resolution


def _recursion(scores: list[np.ndarray], buckets: list[np.ndarray], capacity: int) -> np.ndarray:
    """Return indices (groups,) of the least sum of scores in at most ``capacity`` buckets."""
    best = np.zeros(capacity + 1)  # by buckets that may be used
    taken = np.empty((len(scores), capacity + 1), dtype=np.int16)
    for group, (row, cost) in enumerate(zip(scores, buckets, strict=True)):
        after = np.full(capacity + 1, np.inf)
        for choice in undominated(row, cost[:, None], 0):
            start = cost[choice]
            if start > capacity:
                continue
            candidate = best[: capacity + 1 - start] + row[choice]
            better = candidate < after[start:]
            after[start:][better] = candidate[better]
            taken[group, start:][better] = choice
        best = after
    indices = np.empty(len(scores), dtype=int)
    for group in reversed(range(len(scores))):
        indices[group] = taken[group, capacity]
        capacity -= buckets[group][indices[group]]
    return indices
