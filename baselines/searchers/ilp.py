"""The integer program on additive scores."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import PositiveFloat

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import BenchError, Exhausted
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import infeasible, joint_price, remark_end, search_table
from mpqbench.search.knapsack import TIME_LIMIT, solve


@plugin
class ILP(Searcher):
    """The least sum of table scores within every limit, exactly, by ``mpqbench.search.knapsack``.

    ``time_limit`` in seconds bounds each integer program. The best solution found by then is taken,
    which depends on the machine; BenchError is raised where there is none.

    With ``split`` the budget is divided as in MixDQ (arXiv 2405.17873). It names two parts by the
    kinds of their groups, such as ``{content: [attn.qkv, attn.out], quality: [mlp.up, mlp.down]}``.
    Each of ``ratios`` gives the first part that many times its share of every limit (its share of
    the costliest allocation) and the second part the rest. One program is solved for each part, and
    of all the pairs of solutions the one of the lowest joint score is taken. Scores of the two
    parts are never added, so each part may have a metric of its own, as in MixDQ: see objective
    ``decoupled``.
    """

    time_limit: PositiveFloat = TIME_LIMIT
    split: Mapping[str, Sequence[str]] | None = None
    ratios: Sequence[PositiveFloat] = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)

    def __post_init__(self) -> None:
        if self.split is not None and len(self.split) != 2:
            raise BenchError(f"split: there must be two parts, not {len(self.split)}")

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of the table and, with ``split``, of a joint score for each ratio."""
        joint = 0.0 if self.split is None else joint_price(problem, len(self.ratios))
        return problem.table_price() + joint

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the optimum of the table, or the best of the split's candidates.

        Ratios that leave a part too little are left out, and remarked. Without an allowance for
        joint scores, the candidate nearest to an even split is returned, which is remarked too.
        Raises as ``search_table``, and BenchError where ``split`` leaves out a group or no ratio is
        feasible.
        """
        if self.split is not None:
            first = _first_part(problem.groups, self.split)
            return search_table(problem, lambda *table: self._best_split(problem, first, *table))

        def choose(arrays: Arrays, scores: Sequence[np.ndarray]) -> Allocation:
            indices = solve(scores, arrays, time_limit=self.time_limit)
            if indices is None:
                raise infeasible(problem)
            return arrays.allocation(indices)

        return search_table(problem, choose)

    def _best_split(
        self, problem: SearchProblem, first: np.ndarray, arrays: Arrays, scores: list[np.ndarray]
    ) -> Allocation:
        ratios = sorted(self.ratios, key=lambda ratio: abs(ratio - 1))
        solved = [self._halves(arrays, scores, first, ratio) for ratio in ratios]
        short = [r for r, indices in zip(ratios, solved, strict=True) if indices is None]
        if short:
            left_out = ", ".join(f"{ratio:g}" for ratio in sorted(short))
            problem.remark(f"ratios {left_out} were left out: they leave a part too little budget")
        fitting = [indices for indices in solved if indices is not None and arrays.fits(indices)]
        candidates = list(dict.fromkeys(map(arrays.allocation, fitting)))
        if not candidates:
            raise BenchError(
                f"no ratio of {list(self.ratios)} leaves both parts enough of budget "
                f"{problem.budget}: try others"
            )
        try:
            return candidates[int(problem.score_many(candidates).argmin())]
        except Exhausted:
            best = problem.best()
            kind = "the most even split" if best is None else "the best allocation scored"
            remark_end(problem, kind)
            return best or candidates[0]

    def _halves(
        self, arrays: Arrays, scores: Sequence[np.ndarray], first: np.ndarray, ratio: float
    ) -> np.ndarray | None:
        """Solve one program for each part; ``None`` where a part cannot keep its limits."""
        costliest = np.array([costs.max(axis=0) for costs in arrays.costs])
        whole = costliest.sum(axis=0)
        share = costliest[first].sum(axis=0) / np.where(whole > 0, whole, 1.0)
        bounded = np.isfinite(arrays.limits)  # an infinite limit is infinite for either part
        given, rest = arrays.limits.copy(), arrays.limits.copy()
        given[bounded] *= (ratio * share)[bounded]
        rest[bounded] -= given[bounded]
        indices = np.empty(len(first), dtype=int)
        for members, limits in ((first, given), (~first, rest)):
            numbers = np.flatnonzero(members).tolist()
            part = arrays.part(numbers, limits)
            found = solve([scores[n] for n in numbers], part, time_limit=self.time_limit)
            if found is None:
                return None
            indices[numbers] = found
        return indices


def _first_part(groups: Sequence[str], split: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Return whether each group is of the first part: (groups,) bool."""
    first, second = (
        np.array([any(f".{group}".endswith(f".{kind}") for kind in kinds) for group in groups])
        for kinds in split.values()
    )
    for at in np.flatnonzero(first == second):
        number = "both parts" if first[at] else "neither part"
        raise BenchError(f"group {groups[at]} is of {number} of split: {' and '.join(split)}")
    if first.all() or not first.any():
        raise BenchError(f"a part of split has no group: {' and '.join(split)}")
    return first
