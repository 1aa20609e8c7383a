"""Figure: the merge tree of a tree-structured search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from .drawing import PAGE, drawing
from .merge_data import TreeNode
from .merge_data import merge_tree as tree_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAF_LETTERS = 6.0  # points, where leaves are at least that far apart
_LABEL = 14.0  # points that the label of a merge needs


def merge_tree(merges: pd.DataFrame, title: str) -> Figure:
    """Leaves below in the order of the tree, the root above, at each merge points scored and kept.

    Levels too crowded for that have only their sums at the left margin.
    Colour is what the kept points cost (median) in units of the node's share of the budget.
    """
    nodes = tree_of(merges)
    with drawing(PAGE, 3.9) as figure:
        axes = figure.add_subplot()
        _draw(axes, nodes)
        _label_leaves(axes, nodes)
        _label_levels(axes, nodes)
        axes.set_title(f"{title}: points scored → kept", loc="left")
    return figure


def _draw(axes: Axes, nodes: Sequence[TreeNode]) -> None:
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
    """Smallest distance of two neighbours of each level, in points."""
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
