"""Tree-structured search: joint scores of longer and longer parts of the network."""

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import BenchError, Exhausted
from mpqbench.core.precision import Allocation
from mpqbench.search.feasible import cheapest_feasible, only_allocation
from mpqbench.search.pareto import RULES, RuleName, Target
from mpqbench.search.tree import Node, Space

AtLeastOne = Annotated[float, Field(ge=1)]
Window = tuple[Annotated[float, Field(ge=0, le=1)], AtLeastOne]


@plugin
class TSS(Searcher):
    """Tree-structured search: merges neighbours pairwise and keeps the best few combinations.

    After TreeQ (arXiv 2512.06353). Its figure shows merges of 16 x 16 partial allocations, of which
    "Pareto drop" leaves 16; everything else is our choice and a parameter. The leaves are the
    groups in ``order`` "network", or "shuffled" for comparison. A node holds at most ``keep``
    partial allocations of its groups, a leaf at most ``leaves`` (``None``: as many as ``keep``).
    Neighbours merge level by level, with all combinations scored jointly; an odd node passes
    through. At the root the best joint score among the allocations that fit wins. That is at most
    (n - 1) keep^2 scorings after one for each choice of each group.

    ``drop`` is the rule of ``mpqbench.search.pareto`` that thins a node. The default keeps the
    points that are best, or nearly so, at prices within a factor ``spread`` of the shadow price of
    the whole budget, so that a node is not bound to its share of the budget. ``window`` (low, high)
    bounds a node's cost in multiples of its share, for every rule but "pareto"; ``None`` sets no
    bounds. Combinations outside the window, or without any completion that fits, are not scored.

    Every node keeps its part of one allocation that fits, the ``anchor``: "additive", the integer
    program on the leaves' scores, which bounds the joint score of the answer from above, or
    "cheapest". So there is always an answer, and ``keep`` = 1 gives the anchor itself.

    An allowance too small for ``keep`` lowers it merge by merge. Every level may spend an equal
    part of the rest, so that the many merges of few groups, whose scores are nearly additive, keep
    less than the few merges of many. Where the allowance ends all the same, the best complete
    allocation scored so far is the answer. Without any, each node gives one of its points by the
    integer program on their scores, taken as additive; without leaves the cheapest allocation is
    the answer.

    All scored points are noted as table "merges": ``node`` counts leaves (``level`` 0) and merges
    in the order of scoring, ``groups`` are the node's own with a space between them, ``cost`` is in
    units of the limit, the largest over the measures, ``share`` is the node's share of the budget,
    and ``kept`` tells whether the point was kept.
    """

    keep: PositiveInt = 16
    window: Window | None = None
    drop: RuleName = "lagrangian"
    order: Literal["network", "shuffled"] = "network"
    leaves: PositiveInt | None = None
    anchor: Literal["additive", "cheapest"] = "additive"
    spread: AtLeastOne = 2.0

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the best allocation at the root.

        Raises Infeasible where none fits the budget, BenchError where a score is not finite.
        """
        only = only_allocation(problem)
        return _Tree(problem, self).run() if only is None else only


class _Tree:
    """One run of the search."""

    def __init__(self, problem: SearchProblem, tss: TSS) -> None:
        self.problem, self.tss, self.nodes = problem, tss, 0
        self.space = Space(problem)
        self.anchor = self.space.arrays.indices(cheapest_feasible(problem))
        self.scored, self.since = 0, problem.spent  # in this level, and spent before it

    def run(self) -> Allocation:
        """Score the leaves, merge level by level, and return the best at the root."""
        order = np.arange(len(self.anchor))
        if self.tss.order == "shuffled":
            self.problem.rng.shuffle(order)
        nodes: list[Node] = []
        try:
            nodes, level = self._leaves(order), 0
            while len(nodes) > 1:
                level += 1
                self._merge_level(nodes, level)
        except Exhausted:
            completed = self.space.additive(nodes, self.anchor) if nodes else self.anchor
            return self.problem.best() or self.space.arrays.allocation(completed)
        return self.space.arrays.allocation(self.space.best(nodes[0]))

    def _leaves(self, order: np.ndarray) -> list[Node]:
        """Score every choice of every group in one batch, and thin each leaf."""
        alone = [self.space.leaf(int(group)) for group in order]
        scores = self._scores(alone)
        ends = np.cumsum([len(node) for node in alone])[:-1]
        scored = zip(alone, np.split(scores, ends), strict=True)
        whole = [node.with_scores(part) for node, part in scored]
        if self.tss.anchor == "additive":
            self.anchor = self.space.additive(whole, self.anchor)
        keep = self.tss.keep if self.tss.leaves is None else self.tss.leaves
        price = self.space.price(whole)
        return [self._thinned(self._useful(node), keep, price, 0) for node in whole]

    def _merge_level(self, nodes: list[Node], level: int) -> None:
        """Merge neighbours in ``nodes``, in place: a search cut short keeps what is done."""
        price, merges, end = self.space.price(nodes), len(nodes) // 2, self._end_of_level(nodes)
        each = (self.problem.spent - self.since) / self.scored  # a scoring of the level below
        self.scored, self.since = 0, self.problem.spent
        for left in range(merges):
            forwards = (end - self.problem.spent) / (merges - left)
            scorings = forwards / each if each else math.inf
            pair = (self._afforded(node, scorings, price) for node in nodes[left : left + 2])
            both = self._useful(self.space.combined(*pair))
            whole = both.with_scores(self._scores([both]))
            nodes[left : left + 2] = [self._thinned(whole, self.tss.keep, price, level)]

    def _useful(self, node: Node) -> Node:
        """Return the node with the points worth scoring."""
        window = None if self.tss.drop == "pareto" else self.tss.window
        useful = self.space.useful(node, window) | self._anchored(node)
        return node.take(np.flatnonzero(useful))

    def _thinned(self, node: Node, keep: int, price: float, level: int) -> Node:
        """Return the node with at most ``keep`` points by the rule, the anchor's among them."""
        if self.space.complete(node):
            kept = np.array([self.space.best_index(node)])
        else:
            kept = self._kept(node, keep, price)
        self._note(node, level, kept)
        return node.take(kept)

    def _note(self, node: Node, level: int, kept: np.ndarray) -> None:
        groups = " ".join(self.problem.groups[at] for at in node.groups)
        same = {"node": self.nodes, "level": level, "groups": groups}
        same["share"] = self.space.share(node)
        columns: dict[str, Any] = {name: [value] * len(node) for name, value in same.items()}
        columns["cost"], columns["score"] = self.space.relative(node), node.scores
        columns["kept"] = np.isin(np.arange(len(node)), kept)
        self.problem.note("merges", columns)
        self.nodes += 1

    def _kept(self, node: Node, keep: int, price: float) -> np.ndarray:
        """Return the points kept by the rule; the anchor, if not among them, replaces the worst."""
        anchor = np.flatnonzero(self._anchored(node))
        if keep == 1:
            return anchor
        rule, cost = RULES[self.tss.drop], self.space.relative(node)
        target = Target(self.space.share(node), price, self.tss.spread)
        kept = rule(cost, node.scores, keep, target)
        if np.isin(anchor, kept).all():
            return kept
        return np.append(rule(cost, node.scores, keep - 1, target), anchor)

    def _end_of_level(self, nodes: list[Node]) -> float:
        """Return the total of forwards at which the level that merges ``nodes`` has to end."""
        spent, allowance = self.problem.spent, self.problem.allowance
        if math.isinf(allowance):
            return allowance
        return spent + (allowance - spent) / math.ceil(math.log2(len(nodes)))

    def _afforded(self, node: Node, scorings: float, price: float) -> Node:
        """Return ``node`` thinned so that merging two of its size takes ``scorings``."""
        if math.isinf(scorings):
            return node
        return node.take(self._kept(node, math.isqrt(max(int(scorings), 1)), price))

    def _anchored(self, node: Node) -> np.ndarray:
        """Return which points are part of the anchor: (points,) bool."""
        return (node.picks == self.anchor[node.groups]).all(axis=1)

    def _scores(self, nodes: list[Node]) -> np.ndarray:
        partial = [each for node in nodes for each in self.space.allocations(node)]
        scores = self.problem.score_many(partial)
        if not np.isfinite(scores).all():
            raise BenchError("a joint score is not finite: leave out the choices that diverge")
        self.scored += len(partial)
        return scores
