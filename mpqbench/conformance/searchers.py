"""What every searcher promises."""

from __future__ import annotations

from functools import partial

from ..contracts import Searcher
from ..errors import Infeasible
from ..models.groups import layer_groups
from ..precision import Allocation, Budget, Precision
from ..search.counted import CountedProblem
from .check import Check, attempt, check_of, expect, own_generators_only
from .models import tiny_transformer

BUDGETS = ("W8A8", "W4A8", "W4A4", "W3A3", "FP")
CHOICES = tuple(Precision(w, a) for w in (2, 3, 4, 6, 8) for a in (3, 4, 8))


class SearcherChecks:
    """The checks of one searcher, on the costs of a tiny DiT without scores."""

    def __init__(self, plugin: Searcher) -> None:
        self.plugin = plugin
        self.transformer = tiny_transformer("meta")
        self.groups = layer_groups(self.transformer)

    def all(self) -> list[Check]:
        """All checks."""
        return [check_of(m) for m in (self.allocation, self.budget, self.deterministic)]

    def allocation(self) -> None:
        """Every group gets one of its choices."""
        for budget in BUDGETS:
            problem, found = self._search(budget)
            attempt(f"budget {budget}", "checking it", partial(problem.checked, found))

    def budget(self) -> None:
        """The allocation costs no more than the budget, and where none can, it says Infeasible."""
        for budget in BUDGETS:
            problem, found = self._search(budget)
            cost, limit = problem.cost(found), problem.limit()
            expect(cost <= limit, f"budget {budget}: it costs {cost:.6g} BitOPs of {limit:.6g}")
        problem = self._problem("W2A3", (Precision(4, 4), Precision(8, 8)))
        try:
            found = self.plugin.search(problem)
        except Infeasible:
            return
        raise AssertionError(
            "budget W2A3: no choice meets it, so search must raise Infeasible, not give "
            f"{sorted(set(found.to_json().values()))}"
        )

    def deterministic(self) -> None:
        """One ``rng`` gives one allocation, and global random generators are left alone."""
        found = []
        for seed in (1, 2):
            with own_generators_only("budget W4A4", seed):
                found.append(dict(self._search("W4A4")[1]))
        expect(found[0] == found[1], "budget W4A4: two searches with one problem.rng differ")

    def _problem(self, budget: str, choices: tuple[Precision, ...] = CHOICES) -> CountedProblem:
        return CountedProblem(self.transformer, self.groups, Budget.parse(budget), choices, seed=7)

    def _search(self, budget: str) -> tuple[CountedProblem, Allocation]:
        problem = self._problem(budget)
        return problem, attempt(f"budget {budget}", "search", lambda: self.plugin.search(problem))
