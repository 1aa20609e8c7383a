"""Figures of a tree-structured search: the tree of its merges, and the points of a merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pandas as pd

from ...core.errors import BenchError
from ...records.statistics import spread
from ..drawing import (
    COLUMN,
    DROPPED,
    KEPT,
    PAGE,
    drawing,
    grid,
    legend_above,
    log_y,
    note_below,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAF_LETTERS = 6.0  # points, where leaves are at least that far apart
_LABEL = 14.0  # points that the label of a merge needs
_ONE = 3.4  # inches, of a figure of one node


@dataclass(frozen=True)
class TreeNode:
    """A leaf or a merge: how many points were ``scored`` and ``kept``, and where it is drawn.

    ``load`` is the median cost of the kept points in units of the node's share of the budget;
    ``place`` the mean position of its leaves, counted from 0 in the order of the tree.
    """

    node: int
    level: int
    groups: tuple[str, ...]
    scored: int
    kept: int
    load: float
    place: float
    children: tuple[int, ...]


def node_points(merges: pd.DataFrame, node: int) -> pd.DataFrame:
    """Return a node's points: ``load`` (cost in units of its share), ``score`` and ``kept``.

    Raises BenchError if there is no such node.
    """
    own = merges[merges["node"] == node]
    if own.empty:
        first, last = int(merges["node"].min()), int(merges["node"].max())
        raise BenchError(f"there is no node {node}: give one from {first} to {last}")
    points = pd.DataFrame({"load": own["cost"] / own["share"], "score": own["score"]})
    points["kept"] = own["kept"].astype(bool)
    return points.reset_index(drop=True)


def node_title(merges: pd.DataFrame, node: int) -> str:
    """Return what a node covers, in two lines."""
    first = merges[merges["node"] == node].iloc[0]
    groups = str(first["groups"]).split()
    ends = " to ".join(dict.fromkeys((groups[0], groups[-1]))).replace("blocks.", "")
    return f"node {node}: {len(groups)} of {_leaves(merges)} groups\n{ends}"


def telling_nodes(merges: pd.DataFrame) -> list[int]:
    """Return the merge of most points on the highest level below the root, and the root.

    A search cut short has no root, and two leaves have no merge below it.
    """
    points = merges.groupby("node").agg(
        level=("level", "first"), groups=("groups", "first"), count=("score", "size")
    )
    covered = points["groups"].map(lambda names: len(names.split()))
    is_root = (covered == _leaves(merges)) & (points["level"] > 0)
    below = points[~is_root & (points["level"] > 0)].reset_index()
    below = below.sort_values(["level", "count", "node"], ascending=[False, False, True])
    return [*below["node"].head(1).tolist(), *points.index[is_root].tolist()]


def tree_nodes(merges: pd.DataFrame) -> list[TreeNode]:
    """Return all nodes in the order of scoring, children before parents."""
    found: dict[int, TreeNode] = {}
    for node, own in merges.groupby("node", sort=True):
        number, first = int(str(node)), own.iloc[0]
        kept = own[own["kept"].astype(bool)]
        found[number] = TreeNode(
            node=number,
            level=int(first["level"]),
            groups=tuple(str(first["groups"]).split()),
            scored=len(own),
            kept=len(kept),
            load=float((kept["cost"] / kept["share"]).median()),
            place=0.0,
            children=(),
        )
    return _placed(found)


def _placed(nodes: dict[int, TreeNode]) -> list[TreeNode]:
    """Add children and places."""
    top: dict[str, int] = {}  # the highest node so far that holds a group
    children: dict[int, tuple[int, ...]] = {}
    for node in nodes.values():
        own = dict.fromkeys(top[group] for group in node.groups if group in top)
        children[node.node] = tuple(own)
        top |= dict.fromkeys(node.groups, node.node)
    # Leaves stand in the order in which the highest nodes list them: no two edges cross.
    roots = dict.fromkeys(top.values())
    order = [group for root in roots for group in nodes[root].groups]
    place = {group: float(at) for at, group in enumerate(order)}
    return [
        replace(
            node,
            place=sum(place[group] for group in node.groups) / len(node.groups),
            children=children[node.node],
        )
        for node in nodes.values()
    ]


def _leaves(merges: pd.DataFrame) -> int:
    return int(merges.loc[merges["level"] == 0, "node"].nunique())


def merge_tree(merges: pd.DataFrame, title: str) -> Figure:
    """Draw the tree, leaves below and the root above, with the points scored and kept at merges.

    Levels too crowded for that have only their sums at the left margin.
    Colour is what the kept points cost (median) in units of the node's share of the budget.
    """
    nodes = tree_nodes(merges)
    with drawing(PAGE, 3.9) as figure:
        axes = figure.add_subplot()
        _draw_tree(axes, nodes)
        _label_leaves(axes, nodes)
        _label_levels(axes, nodes)
        axes.set_title(f"{title}: points scored → kept", loc="left")
    return figure


def _draw_tree(axes: Axes, nodes: Sequence[TreeNode]) -> None:
    from matplotlib.colors import LogNorm

    by_number = {node.node: node for node in nodes}
    for node in nodes:
        for child in (by_number[number] for number in node.children):
            xs = [node.place, child.place, child.place]
            axes.plot(xs, [node.level, node.level, child.level], color="#999999", linewidth=0.6)
    pitches = _pitches(nodes)
    # Orange spends more than its share, purple less; white is what everyone would get.
    marks = axes.scatter(
        [node.place for node in nodes], [node.level for node in nodes],
        c=[min(max(node.load, 0.5), 2.0) for node in nodes], norm=LogNorm(0.5, 2.0),
        cmap="PuOr_r", s=[min(0.5 * pitches[node.level], 6.0) ** 2 for node in nodes],
        edgecolors="#444444", linewidths=0.5, zorder=3,
    )  # fmt: skip
    for node in nodes:
        if node.level and pitches[node.level] > _LABEL:
            axes.annotate(
                f"{node.scored}\n→{node.kept}", (node.place, node.level), xytext=(0, 4),
                textcoords="offset points", ha="center", va="bottom", fontsize=5.5,
                linespacing=0.9, zorder=4,
                bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "linewidth": 0},
            )  # fmt: skip
    _colour_bar(axes, marks)


def _pitches(nodes: Sequence[TreeNode]) -> dict[int, float]:
    """Return the smallest distance of two neighbours of each level, in points."""
    leaves = max(sum(node.level == 0 for node in nodes), 1)
    room = 72 * (PAGE - 1.6)
    found = {}
    for level in {node.level for node in nodes}:
        places = sorted(node.place for node in nodes if node.level == level)
        found[level] = room / leaves * min((b - a for a, b in pairwise(places)), default=leaves)
    return found


def _colour_bar(axes: Axes, marks: object) -> None:
    from matplotlib.ticker import NullLocator

    bar = axes.figure.colorbar(marks, ax=axes, shrink=0.7, aspect=25, pad=0.01)  # type: ignore[arg-type]
    bar.set_label("median cost of the kept / share of the budget")
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_ticks([0.5, 0.71, 1.0, 1.41, 2.0], labels=["≤0.5", "0.71", "1", "1.41", "≥2"])
    bar.outline.set_linewidth(0.5)


def _label_leaves(axes: Axes, nodes: Sequence[TreeNode]) -> None:
    leaves = [node for node in nodes if node.level == 0]
    pitch = _pitches(nodes)[0]
    names = [node.groups[0].removeprefix("blocks.") for node in leaves]
    axes.set_xticks(
        [node.place for node in leaves], names,
        rotation=90, fontsize=min(_LEAF_LETTERS, pitch),
    )  # fmt: skip
    axes.tick_params(axis="x", length=0, pad=1)
    axes.set_xlim(-0.8, len(leaves) - 0.2)


def _label_levels(axes: Axes, nodes: Sequence[TreeNode]) -> None:
    labels = []
    levels = range(max(node.level for node in nodes) + 1)
    for level in levels:
        own = [node for node in nodes if node.level == level]
        what = "leaves" if level == 0 else "merges" if len(own) > 1 else "merge"
        scored, kept = sum(node.scored for node in own), sum(node.kept for node in own)
        labels.append(f"{len(own)} {what}\n{scored} → {kept}")
    axes.set_yticks(list(levels), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.35, levels[-1] + 0.7)
    axes.spines[:].set_visible(False)


def pareto_drop(merges: pd.DataFrame, nodes: Sequence[int], title: str, score: str) -> Figure:
    """Draw cost against joint ``score`` of all points scored at each of ``nodes``, side by side.

    The picture of "Pareto drop" in arXiv 2512.06353, with cost in units of the node's share of the
    budget in place of average bits. Raises BenchError if there is no such node.
    """
    width = COLUMN if len(nodes) > 1 else _ONE
    with drawing(width, 2.9) as figure:
        for number, node in enumerate(nodes, 1):
            axes = figure.add_subplot(1, len(nodes), number)
            _draw_points(axes, node_points(merges, node))
            axes.set_title(node_title(merges, node), loc="left", fontsize=7.5)
            axes.set_xlabel("cost / node's share of the budget")
        figure.axes[0].set_ylabel(f"joint score ({score})")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        legend_above(figure, dict(zip(labels, handles, strict=True)), width)
        note_below(
            figure, f"{title}. At cost 1 a node spends what it gets if all get alike.", width
        )
    return figure


def _draw_points(axes: Axes, points: pd.DataFrame) -> None:
    kept, dropped = points[points["kept"]], points[~points["kept"]]
    size = 9 if len(points) > 60 else 16
    ordered = points.sort_values(["load", "score"])
    edge = ordered[ordered["score"] < ordered["score"].cummin().shift(fill_value=float("inf"))]
    axes.axvline(1.0, color="#666666", linewidth=0.8, linestyle="--", zorder=1)
    axes.plot(edge["load"], edge["score"], drawstyle="steps-post", color="#0072B2", linewidth=0.9,
              label="undominated", zorder=2)  # fmt: skip
    axes.scatter(dropped["load"], dropped["score"], s=size, color=DROPPED, linewidths=0, zorder=3,
                 label="dropped")  # fmt: skip
    axes.scatter(kept["load"], kept["score"], s=2 * size, color=KEPT, edgecolors="white",
                 linewidths=0.4, zorder=4, label="kept")  # fmt: skip
    log_y(axes, [spread([value]) for value in points["score"]])
    grid(axes)
