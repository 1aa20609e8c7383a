"""Nodes of a merge tree: partial allocations of some groups, as arrays."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..contracts import SearchProblem
from ..core.precision import Precision
from .arrays import Arrays
from .knapsack import solve
from .pareto import shadow_price


@dataclass(frozen=True, eq=False)
class Node:
    """Partial allocations ("points") of some groups.

    ``groups`` (k,) are numbers of groups; ``picks`` (points, k) their choices; ``costs`` (points,
    measures); ``scores`` (points,), NaN before they are known.
    """

    groups: np.ndarray
    picks: np.ndarray
    costs: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.picks)

    def take(self, points: np.ndarray) -> "Node":
        """Return the node with these points alone."""
        return Node(self.groups, self.picks[points], self.costs[points], self.scores[points])

    def with_scores(self, scores: np.ndarray) -> "Node":
        """Return the node with the same points and these scores."""
        return replace(self, scores=scores)


class Space:
    """The arithmetic of the nodes of one problem.

    A *relative* cost is in units of the limits (without any, the costs of the costliest
    allocation), the largest over the bounded measures.
    """

    def __init__(self, problem: SearchProblem) -> None:
        self.arrays = Arrays.of(problem)
        costs = self.arrays.costs
        self._bounded = np.isfinite(self.arrays.limits)
        self._units = np.where(self._bounded, self.arrays.limits, np.inf)
        if not self._bounded.any():
            self._units = np.sum([each.max(axis=0) for each in costs], axis=0)
        self._units = np.maximum(self._units, np.finfo(float).tiny)
        self._least = np.array([each.min(axis=0) for each in costs])
        means = np.array([(each / self._units).max(axis=1).mean() for each in costs])
        self._shares = means / means.sum()

    def complete(self, node: Node) -> bool:
        """Return whether ``node`` covers all groups."""
        return len(node.groups) == len(self._shares)

    def leaf(self, group: int) -> Node:
        """Return the node of all choices of one group."""
        costs = self.arrays.costs[group]
        picks = np.arange(len(costs))[:, None]
        return Node(np.array([group]), picks, costs, np.full(len(costs), np.nan))

    def combined(self, left: Node, right: Node) -> Node:
        """Return all pairs of points, in the order of the left points; not scored."""
        a, b = np.divmod(np.arange(len(left) * len(right)), len(right))
        return Node(
            np.concatenate((left.groups, right.groups)),
            np.hstack((left.picks[a], right.picks[b])),
            left.costs[a] + right.costs[b],
            np.full(len(a), np.nan),
        )

    def with_points(self, node: Node, whole: np.ndarray) -> Node:
        """Return complete ``node`` with the allocations ``whole`` (n, groups) it lacks.

        ``whole`` are choices in network order.
        """
        known = {tuple(picks) for picks in node.picks.tolist()}
        rows = dict.fromkeys(tuple(row) for row in whole[:, node.groups].tolist())
        new = np.array([row for row in rows if row not in known], dtype=int)
        if not len(new):
            return node
        costs = [self.arrays.costs[g][new[:, at]] for at, g in enumerate(node.groups)]
        return Node(
            node.groups,
            np.vstack((node.picks, new)),
            np.vstack((node.costs, np.sum(costs, axis=0))),
            np.append(node.scores, np.full(len(new), np.nan)),
        )

    def relative(self, node: Node) -> np.ndarray:
        """Return the relative cost of each point: (points,), above zero."""
        return np.maximum((node.costs / self._units).max(axis=1), np.finfo(float).tiny)

    def share(self, node: Node) -> float:
        """Return the relative cost at which groups share the budget by the mean cost of choices."""
        return float(self._shares[node.groups].sum())

    def useful(self, node: Node, window: tuple[float, float] | None) -> np.ndarray:
        """Return the points that fit with some completion: (points,) bool.

        Unless the node is complete, their relative cost is also within ``window`` (low, high) times
        the share, where a window is given.
        """
        if self.complete(node):
            return np.array([self.arrays.fits(self._ordered(node, at)) for at in range(len(node))])
        outside = np.delete(self._least, node.groups, axis=0).sum(axis=0)
        useful = (node.costs + outside <= self.arrays.limits * (1 + 1e-9)).all(axis=1)
        if window is not None:
            load = self.relative(node) / self.share(node)
            useful &= (window[0] <= load) & (load <= window[1])
        return useful

    def allocations(self, node: Node) -> list[dict[str, Precision]]:
        """Return the partial allocations of all points, groups in network order."""
        order = np.argsort(node.groups)
        names = [self.arrays.groups[group] for group in node.groups[order]]
        choices = [self.arrays.choices[group] for group in node.groups[order]]
        return [
            {name: options[pick] for name, options, pick in zip(names, choices, picks, strict=True)}
            for picks in node.picks[:, order].tolist()
        ]

    def best_index(self, node: Node) -> int:
        """Return the point of least score, the cheapest of equals."""
        return int(np.lexsort((self.relative(node), node.scores))[0])

    def best(self, node: Node) -> np.ndarray:
        """Return the choices at the best point of a complete node, in network order: (groups,)."""
        return self._ordered(node, self.best_index(node))

    def price(self, nodes: list[Node]) -> float:
        """Return the shadow price of relative cost, in score, where ``nodes`` share the budget."""
        return shadow_price([self.relative(node) for node in nodes], [n.scores for n in nodes], 1.0)

    def additive(self, nodes: list[Node], instead: np.ndarray) -> np.ndarray:
        """Return the least sum of one point of each node as choices (groups,), or ``instead``."""
        names = tuple(str(number) for number in range(len(nodes)))
        choices: Any = tuple(tuple(range(len(node))) for node in nodes)
        costs = tuple(node.costs for node in nodes)
        one_each = Arrays(names, choices, costs, self.arrays.limits, self.arrays.remark)
        found = solve([node.scores for node in nodes], one_each)
        if found is not None:
            picks = np.empty_like(instead)
            for node, at in zip(nodes, found, strict=True):
                picks[node.groups] = node.picks[at]
            if self.arrays.fits(picks):  # costs were summed in another order
                return picks
        self.arrays.remark(
            "no sum of scores of the nodes fits: the allocation kept for that is taken"
        )
        return instead

    def _ordered(self, node: Node, at: int) -> np.ndarray:
        picks = np.empty(len(node.groups), dtype=int)
        picks[node.groups] = node.picks[at]
        return picks
