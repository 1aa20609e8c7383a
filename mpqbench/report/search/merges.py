"""Figures of a tree-structured search: the tree of its merges, and the points of a merge."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import NullLocator

from ...core.errors import BenchError
from .. import drawing
from ..drawing import Picture
from ..fitting import text_width
from ..looks import COLOURS, Style

_LETTERS = 7.0  # points
_BESIDE = 1.1  # inches of the names of levels and of the colour bar


def node_points(merges: pd.DataFrame, node: int) -> pd.DataFrame:
    """Return ``load`` (cost / the node's share), ``score`` and ``kept`` of a node's points."""
    points = merges[merges["node"] == node]
    if points.empty:
        first, last = int(merges["node"].min()), int(merges["node"].max())
        raise BenchError(f"there is no node {node}: give one from {first} to {last}")
    load, kept = points["cost"] / points["share"], points["kept"].astype(bool)
    return points[["score"]].assign(load=load, kept=kept).reset_index(drop=True)


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
    nodes = tree_nodes(merges).query("level > 0")
    is_root = nodes["groups"].map(len) == _leaves(merges)
    order = {"level": False, "scored": False, "node": True}
    below = nodes[~is_root].sort_values(list(order), ascending=list(order.values()))
    return [*below["node"].head(1), *nodes.loc[is_root, "node"]]


def _leaves(merges: pd.DataFrame) -> int:
    return int(merges.loc[merges["level"] == 0, "node"].nunique())


def tree_nodes(merges: pd.DataFrame) -> pd.DataFrame:
    """Return a row for every node in the order of scoring, children before parents.

    Columns: ``node``, ``level``, ``groups`` (a list), ``scored`` and ``kept`` (numbers of points),
    ``load`` (median cost of the kept points / the node's share of the budget), ``children``, and
    ``place`` (mean position of the node's leaves, counted from 0).
    """
    nodes = merges.groupby("node").agg(
        level=("level", "first"), groups=("groups", "first"), scored=("score", "size")
    )
    nodes["groups"] = nodes["groups"].str.split()
    kept = merges[merges["kept"].astype(bool)]
    nodes["kept"] = kept.groupby("node").size()
    nodes["load"] = (kept["cost"] / kept["share"]).groupby(kept["node"]).median()
    top: dict[str, int] = {}  # the highest node so far that holds a group
    children = []
    for node, groups in zip(nodes.index, nodes["groups"], strict=True):
        children.append(list(dict.fromkeys(top[group] for group in groups if group in top)))
        top |= dict.fromkeys(groups, node)
    # Leaves stand in the order in which the highest nodes list them: no two edges cross.
    order = [group for root in dict.fromkeys(top.values()) for group in nodes["groups"][root]]
    place = {group: at for at, group in enumerate(order)}
    nodes["place"] = nodes["groups"].map(lambda groups: sum(place[g] for g in groups) / len(groups))
    return nodes.assign(children=pd.Series(children, nodes.index)).reset_index()


def merge_tree(merges: pd.DataFrame, title: str, style: Style | None = None) -> Picture:
    """Draw the tree, leaves below and the root above, with the points scored and kept at merges.

    Crowded levels have only sums, and crowded leaves the numbers of their blocks in place of names.
    Colour is the median cost of the kept points / the node's share.
    """
    style = style or Style(usual="text")
    nodes = tree_nodes(merges)
    leaves = nodes[nodes["level"] == 0].sort_values("place")
    # Points of the page between two neighbours of a level.
    points = 72 * (style.width - _BESIDE) / nodes.groupby("level").size()
    names = [str(groups[0]).removeprefix("blocks.") for groups in leaves["groups"]]
    has_names = points[0] >= _LETTERS
    height = 0.75 + 0.4 * nodes["level"].max()
    height += max(text_width(name, _LETTERS) for name in names) if has_names else 0.1
    with drawing.canvas(style, height, f"Tree of merges: {title}") as picture:
        axes = picture.add_subplot()
        axes.grid(False)
        _draw_tree(axes, nodes, points)
        if has_names:
            axes.set_xticks(leaves["place"], names, rotation=90, fontsize=_LETTERS)
        else:
            _label_blocks(axes, pd.Series(names, leaves["place"]))
        axes.tick_params(axis="x", length=0, pad=1)
        axes.set_xlim(-0.8, len(leaves) - 0.2)
        _label_levels(axes, nodes)
        picture.note = "Beside the levels: points scored → kept."
    return picture


def _label_blocks(axes: Axes, names: pd.Series) -> None:
    """Write the number of a block below the middle of its leaves, where these are neighbours."""
    block = names.str.partition(".")[0]
    runs = block.groupby(block.ne(block.shift()).cumsum())
    first, middle = runs.first(), runs.apply(lambda run: float(run.index.to_series().mean()))
    if first.is_unique:
        axes.set_xticks(middle, first)
        axes.set_xlabel("block")
    else:
        axes.set_xticks([])


def _draw_tree(axes: Axes, nodes: pd.DataFrame, points: pd.Series) -> None:
    """Draw edges, nodes and their numbers; ``points`` is the distance of neighbours by level."""
    edges = nodes.explode("children").dropna(subset="children")
    edges = edges.merge(nodes, left_on="children", right_on="node", suffixes=("", "_child"))
    ends = edges[["place", "level", "place_child", "level_child"]]
    for x, y, below_x, below_y in ends.to_numpy():
        axes.plot([x, below_x, below_x], [y, y, below_y], color="#999999", linewidth=0.6)
    # Orange spends more than its share, purple less; white is what everyone would get.
    marks = axes.scatter(
        nodes["place"], nodes["level"], c=nodes["load"].clip(0.5, 2.0), norm=LogNorm(0.5, 2.0),
        cmap="PuOr_r", s=(0.5 * nodes["level"].map(points)).clip(upper=6.0) ** 2,
        edgecolors="#444444", linewidths=0.5, zorder=3,
    )  # fmt: skip
    longest = max(len(str(number)) for number in nodes["scored"])
    needed = 72 * text_width("→" + "0" * (longest - 1), drawing.SMALL) + 2
    labelled = nodes[(nodes["level"] > 0) & (nodes["level"].map(points) > needed)]
    for x, y, scored, kept in labelled[["place", "level", "scored", "kept"]].to_numpy():
        axes.annotate(
            f"{scored:.0f}\n→{kept:.0f}", (x, y), xytext=(0, 4),
            textcoords="offset points", ha="center", va="bottom", fontsize=drawing.SMALL,
            linespacing=0.9, zorder=4,
            bbox={"boxstyle": "square,pad=0.05", "facecolor": "white", "linewidth": 0},
        )  # fmt: skip
    bar = axes.figure.colorbar(marks, ax=axes, shrink=0.7, aspect=25, pad=0.01)
    bar.set_label("cost / share of the budget")
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_ticks([0.5, 0.71, 1.0, 1.41, 2.0], labels=["≤0.5", "0.71", "1", "1.41", "≥2"])
    bar.outline.set_linewidth(0.5)


def _label_levels(axes: Axes, nodes: pd.DataFrame) -> None:
    levels = nodes.groupby("level").agg({"node": "size", "scored": "sum", "kept": "sum"})
    labels = []
    for level, count, scored, kept in levels.itertuples():
        what = "leaves" if level == 0 else "merges" if count > 1 else "merge"
        labels.append(f"{count} {what}\n{scored} → {kept}")
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.35, len(labels) - 0.3)
    axes.spines[:].set_visible(False)


def pareto_drop(
    merges: pd.DataFrame, nodes: Sequence[int], words: tuple[str, str], style: Style | None = None
) -> Picture:
    """Draw cost against joint score of all points scored at each of ``nodes``, side by side.

    ``words`` are the title and the name of the score. The picture of "Pareto drop" in arXiv
    2512.06353, with cost in units of the node's share of the budget in place of average bits.
    Raises BenchError if there is no such node.
    """
    style, (title, score) = style or Style(), words
    points = [node_points(merges, node) for node in nodes]
    columns = drawing.columns_of(style, len(nodes))
    height = 0.1 + 1.9 * -(-len(nodes) // columns)
    with drawing.canvas(style, height, f"Pareto drop: {title}") as picture:
        panels = drawing.panels(picture, len(nodes), columns)
        for axes, node, own in zip(panels, nodes, points, strict=True):
            _draw_points(axes, own)
            axes.set_title(node_title(merges, node), fontsize=7.0)
            axes.set_xlabel("cost / share of the budget")
        panels[0].set_ylabel(f"joint score ({score})")
        note = "At cost 1 a node spends what it gets if all get alike."
        drawing.explain(picture, drawing.handles_of(panels[0]), note)
    return picture


def _draw_points(axes: Axes, points: pd.DataFrame) -> None:
    kept, dropped = points[points["kept"]], points[~points["kept"]]
    size = 9 if len(points) > 60 else 16
    ordered = points.sort_values(["load", "score"])
    edge = ordered[ordered["score"] < ordered["score"].cummin().shift(fill_value=float("inf"))]
    axes.axvline(1.0, color="#666666", linewidth=0.8, linestyle="--", zorder=1)
    axes.plot(edge["load"], edge["score"], drawstyle="steps-post", color=COLOURS[0],
              linewidth=0.9, label="undominated", zorder=2)  # fmt: skip
    looks: dict[str, Any] = {"s": size, "color": drawing.DROPPED, "linewidths": 0, "zorder": 3}
    axes.scatter(dropped["load"], dropped["score"], label="dropped", **looks)
    looks = {"s": 2 * size, "color": drawing.KEPT, "edgecolors": "white", "linewidths": 0.4}
    axes.scatter(kept["load"], kept["score"], label="kept", zorder=4, **looks)
    drawing.log_y(axes, [(value,) * 3 for value in points["score"]])
