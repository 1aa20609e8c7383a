"""The merges of a tree-structured search: points of a node, and the tree they form."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ...core.errors import BenchError


@dataclass(frozen=True)
class TreeNode:
    """A leaf or merge: points ``scored`` and ``kept``, and where it is drawn.

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
    """Points of a node: ``load`` (cost in units of the node's share), ``score``, ``kept``.

    Raises BenchError where there is no such node.
    """
    own = merges[merges["node"] == node]
    if own.empty:
        first, last = int(merges["node"].min()), int(merges["node"].max())
        raise BenchError(f"there is no node {node}: give one from {first} to {last}")
    points = pd.DataFrame({"load": own["cost"] / own["share"], "score": own["score"]})
    points["kept"] = own["kept"].astype(bool)
    return points.reset_index(drop=True)


def node_title(merges: pd.DataFrame, node: int) -> str:
    """What a node covers, in two lines."""
    first = merges[merges["node"] == node].iloc[0]
    groups = str(first["groups"]).split()
    ends = " to ".join(dict.fromkeys((groups[0], groups[-1]))).replace("blocks.", "")
    return f"node {node}: {len(groups)} of {_leaves(merges)} groups\n{ends}"


def telling_nodes(merges: pd.DataFrame) -> list[int]:
    """The merge of most points on the highest level below the root, and the root.

    Only what there is: a search cut short has no root, and two leaves have no merge below it.
    """
    points = merges.groupby("node").agg(
        level=("level", "first"), groups=("groups", "first"), count=("score", "size")
    )
    covered = points["groups"].map(lambda names: len(names.split()))
    is_root = (covered == _leaves(merges)) & (points["level"] > 0)
    below = points[~is_root & (points["level"] > 0)].reset_index()
    below = below.sort_values(["level", "count", "node"], ascending=[False, False, True])
    return [*below["node"].head(1).tolist(), *points.index[is_root].tolist()]


def merge_tree(merges: pd.DataFrame) -> list[TreeNode]:
    """All nodes in the order of scoring, children before parents."""
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
    """The same nodes with children and places."""
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
        TreeNode(
            **{
                **vars(node),
                "place": sum(place[group] for group in node.groups) / len(node.groups),
                "children": children[node.node],
            }
        )
        for node in nodes.values()
    ]


def _leaves(merges: pd.DataFrame) -> int:
    return int(merges.loc[merges["level"] == 0, "node"].nunique())
