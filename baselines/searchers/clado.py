"""Pairwise interactions and an integer quadratic program."""

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import Exhausted
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import (
    cheapest_feasible,
    joint_price,
    only_allocation,
    random_feasible,
    remark_end,
)
from mpqbench.search.interactions import enumerated, local_search, projected, row_starts
from mpqbench.search.knapsack import solve


@plugin
class CLADO(Searcher):
    """Minimizes ``x^T G x`` over one choice a group, G from joint scores of all pairs of groups.

    After CLADO (arXiv 2307.05657): with L the score of one or two groups, G has L(i) on its
    diagonal and (L(i, j) - L(i) - L(j)) / 2 off it, half of the paper's matrix, and is projected
    onto the positive semidefinite matrices. An environment's own error is added to L everywhere.

    Ours: ``reach`` scores only pairs at most that many groups apart (``None``: all). Other pairs
    count as independent, and so do pairs that the allowance does not pay for, which is remarked;
    near pairs are scored first, and what scoring the answer and uniform precision takes is left.
    ``project`` can be turned off. Up to 200,000 allocations the program is solved by
    enumeration; above that by steepest descent over changes of two groups, from the additive
    optimum and from ``starts`` random allocations, within ``time_limit`` seconds.
    """

    reach: PositiveInt | None = None
    project: bool = True
    starts: NonNegativeInt = 10
    time_limit: PositiveFloat = 60.0

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of every choice alone, one pair of groups, and scoring the answer."""
        singles = [problem.price({g: problem.choices(g)[0]}) for g in problem.groups]
        counts = [len(problem.choices(group)) for group in problem.groups]
        alone = sum(price * count for price, count in zip(singles, counts, strict=True))
        pair = max(price * count for price, count in zip(singles, counts, strict=True))
        return alone + pair * max(counts) * (len(counts) > 1) + joint_price(problem, 1)

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the optimum of the quadratic program.

        Returns the best allocation scored, or the cheapest, where the allowance does not pay for
        every choice alone. Raises Infeasible where nothing fits.
        """
        only = only_allocation(problem)
        if only is not None:
            return only
        cheapest = cheapest_feasible(problem)
        arrays = Arrays.of(problem)
        pairs = zip(arrays.groups, arrays.choices, strict=True)
        single = [{group: choice} for group, choices in pairs for choice in choices]
        try:
            scores = problem.score_many(single)
        except Exhausted:
            remark_end(problem, "the cheapest allocation")
            return problem.best() or cheapest
        alone = np.split(scores, row_starts(arrays)[1:])
        matrix = interaction_matrix(problem, arrays, alone, self.reach)
        matrix = projected(matrix) if self.project else matrix
        found = enumerated(matrix, arrays)
        if found is None:
            additive = solve(alone, arrays)
            first = arrays.indices(cheapest) if additive is None else additive
            more = [random_feasible(problem, arrays=arrays) for _ in range(self.starts)]
            starts = [first, *map(arrays.indices, more)]
            found = local_search(matrix, arrays, starts, self.time_limit)
        return arrays.allocation(found)


def interaction_matrix(
    problem: SearchProblem, arrays: Arrays, alone: list[np.ndarray], reach: int | None
) -> np.ndarray:
    """Return G before its projection: (m, m) for m choices of all groups in network order.

    ``alone`` are the scores of single groups, (choices,) each.
    """
    matrix = np.diag(np.concatenate(alone))
    starts, count = row_starts(arrays), len(alone)
    farthest = count - 1 if reach is None else min(reach, count - 1)
    pairs = [(i, i + apart) for apart in range(1, farthest + 1) for i in range(count - apart)]
    end = problem.allowance - joint_price(problem, 1)
    for number, (i, j) in enumerate(pairs):
        one, two = arrays.groups[i], arrays.groups[j]
        both = [{one: a, two: b} for a in arrays.choices[i] for b in arrays.choices[j]]
        if problem.spent + len(both) * problem.price(both[0]) > end:
            problem.remark(
                f"the allowance paid for {number} of {len(pairs)} pairs of groups: the others "
                "count as independent"
            )
            break
        together = problem.score_many(both).reshape(len(alone[i]), -1)
        block = (together - alone[i][:, None] - alone[j]) / 2
        rows = slice(starts[i], starts[i] + len(alone[i]))
        columns = slice(starts[j], starts[j] + len(alone[j]))
        matrix[rows, columns], matrix[columns, rows] = block, block.T
    return matrix
