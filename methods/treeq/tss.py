"""Tree-structured search: joint scores of longer and longer parts of the network."""

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.errors import BenchError, Exhausted
from mpqbench.core.precision import Allocation, Precision
from mpqbench.search.feasible import (
    cheapest_feasible,
    fitting_uniforms,
    joint_price,
    only_allocation,
    remark_end,
)
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
    through. At the root every uniform allocation that fits and the additive optimum, the integer
    program on the leaves' scores, are scored too, and of all that fit the best joint score wins.
    That is at most (n - 1) keep^2 scorings after one for each choice of each group, and those.

    ``drop`` is the rule of ``mpqbench.search.pareto`` that thins a node. The default keeps the
    points that are best, or nearly so, at prices within a factor ``spread`` of the shadow price of
    the whole budget, so that a node is not bound to its share of the budget. ``window`` (low, high)
    bounds a node's cost in multiples of its share, for every rule but "pareto"; ``None`` sets no
    bounds. Combinations outside the window, or without any completion that fits, are not scored.

    Every node keeps its part of one allocation that fits, the ``anchor``: "additive" or "cheapest".
    So there is always an answer; with ``keep`` = 1 the anchor alone comes to the root.

    An allowance too small for ``keep`` lowers it merge by merge, and that is remarked. Every level
    may spend an equal part of the rest, so that the many merges of few groups, whose scores are
    nearly additive, keep less than the few merges of many. What one scoring in every later merge
    and the comparison at the root can take is never spent before. The least allowance pays for all
    leaves and for that; in a smaller one each node gives one of its points by the integer program
    on their scores, taken as additive, or without leaves the cheapest allocation is the answer.

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

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of all leaves, one scoring in each merge, and the root's comparison."""
        singles = [problem.price({g: problem.choices(g)[0]}) for g in problem.groups]
        counts = [len(problem.choices(group)) for group in problem.groups]
        leaves = sum(price * count for price, count in zip(singles, counts, strict=True))
        least = merge_prices(problem, np.arange(len(counts)))
        if self.order == "shuffled":  # not known yet: any merge may take as much as the root's
            least = [least[-1]] * len(least)
        return leaves + sum(least) + comparison_price(problem, self.anchor)

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the best allocation at the root.

        Raises Infeasible where none fits the budget, BenchError where a score is not finite.
        """
        only = only_allocation(problem)
        return _Tree(problem, self).run() if only is None else only


def merge_prices(problem: SearchProblem, order: np.ndarray) -> list[float]:
    """Return the price of one scoring in each merge of the groups in ``order``, first to last."""
    nodes, prices = [[problem.groups[at]] for at in order], []
    while len(nodes) > 1:
        for left in range(len(nodes) // 2):
            nodes[left : left + 2] = [nodes[left] + nodes[left + 1]]
            prices.append(problem.price({g: problem.choices(g)[0] for g in nodes[left]}))
    return prices


def comparison_price(problem: SearchProblem, anchor: str) -> float:
    """Return the price of what is compared at the root, where there are several groups."""
    if len(problem.groups) == 1:
        return 0.0
    return joint_price(problem, 0 if anchor == "additive" else 1)


class _Tree:
    """One run of the search."""

    def __init__(self, problem: SearchProblem, tss: TSS) -> None:
        self.problem, self.tss, self.nodes = problem, tss, 0
        self.space = Space(problem)
        arrays = self.space.arrays
        self.anchor = arrays.indices(cheapest_feasible(problem))
        self.compared = [arrays.indices(uniform) for uniform in fitting_uniforms(problem)]
        self.scored, self.since = 0, problem.spent  # in this level, and spent before it
        self.later: list[float] = []  # the least that each later merge takes
        self.least, self.unscored = tss.keep, 0  # points of a node, and combinations left out

    def run(self) -> Allocation:
        """Score the leaves, merge level by level, and return the best at the root."""
        order = np.arange(len(self.anchor))
        if self.tss.order == "shuffled":
            self.problem.rng.shuffle(order)
        self.later = merge_prices(self.problem, order)
        self.later[-1:] = [
            p + comparison_price(self.problem, self.tss.anchor) for p in self.later[-1:]
        ]
        nodes: list[Node] = []
        try:
            nodes, level = self._leaves(order), 0
            while len(nodes) > 1:
                level += 1
                self._merge_level(nodes, level)
        except Exhausted:
            return self._cut_short(nodes)
        self._remark_reductions()
        return self.space.arrays.allocation(self.space.best(nodes[0]))

    def _cut_short(self, nodes: list[Node]) -> Allocation:
        best = self.problem.best()
        if best is not None:
            remark_end(self.problem, "the best allocation scored")
            return best
        remark_end(self.problem, "additive in the nodes so far" if nodes else "the cheapest one")
        completed = self.space.additive(nodes, self.anchor) if nodes else self.anchor
        return self.space.arrays.allocation(completed)

    def _remark_reductions(self) -> None:
        allowance = f"the allowance of {self.problem.allowance:g} forwards"
        if self.least < self.tss.keep:
            self.problem.remark(
                f"{allowance} lowered keep from {self.tss.keep} to {self.least} at the least"
            )
        if self.unscored:
            self.problem.remark(f"{allowance} left {self.unscored} combinations unscored")

    def _leaves(self, order: np.ndarray) -> list[Node]:
        """Score every choice of every group in one batch, and thin each leaf."""
        alone = [self.space.leaf(int(group)) for group in order]
        scores = self._scores([each for node in alone for each in self.space.allocations(node)])
        ends = np.cumsum([len(node) for node in alone])[:-1]
        scored = zip(alone, np.split(scores, ends), strict=True)
        whole = [node.with_scores(part) for node, part in scored]
        optimum = self.space.additive(whole, self.anchor)
        self.compared.append(optimum)
        if self.tss.anchor == "additive":
            self.anchor = optimum
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
            self.later.pop(0)
            whole = self._scored(both)
            nodes[left : left + 2] = [self._thinned(whole, self.tss.keep, price, level)]

    def _scored(self, node: Node) -> Node:
        """Return ``node`` with scores, without points that the allowance does not pay for.

        What has to be there, the anchor and at the root all that is compared, comes first. What
        later merges need at least is left.
        """
        needed = self._anchored(node)
        if self.space.complete(node):
            node = self.space.with_points(node, np.array(self.compared))
            needed = (node.picks[:, None] == np.array(self.compared)[:, node.groups]).all(2).any(1)
            needed |= self._anchored(node)
        partial, scores = self.space.allocations(node), np.full(len(node), np.nan)
        price, end = self.problem.price(partial[0]), self.problem.allowance - sum(self.later)
        waiting = np.argsort(~needed, kind="stable")
        while waiting.size:
            paid = (end - self.problem.spent) / price + 1e-6
            count = len(waiting) if paid >= len(waiting) else int(paid)
            if count < 1:
                break
            now, waiting = np.sort(waiting[:count]), waiting[count:]
            scores[now] = self._scores([partial[at] for at in now])
        if needed[waiting].any():
            raise Exhausted("the allowance does not pay for one scoring in each merge")
        self.unscored += len(waiting)
        return node.with_scores(scores).take(np.flatnonzero(~np.isnan(scores)))

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
        rest = allowance - comparison_price(self.problem, self.tss.anchor) - spent
        return spent + rest / math.ceil(math.log2(len(nodes)))

    def _afforded(self, node: Node, scorings: float, price: float) -> Node:
        """Return ``node`` thinned so that merging two of its size takes ``scorings``."""
        room = len(node) if math.isinf(scorings) else math.isqrt(max(int(scorings), 1))
        if room >= len(node):
            return node
        self.least = min(self.least, room)
        return node.take(self._kept(node, room, price))

    def _anchored(self, node: Node) -> np.ndarray:
        """Return which points are part of the anchor: (points,) bool."""
        return (node.picks == self.anchor[node.groups]).all(axis=1)

    def _scores(self, partial: list[dict[str, Precision]]) -> np.ndarray:
        scores = self.problem.score_many(partial)
        if not np.isfinite(scores).all():
            raise BenchError("a joint score is not finite: leave out the choices that diverge")
        self.scored += len(partial)
        return scores
