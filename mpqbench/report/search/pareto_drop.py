"""Figure: the points of a merge, those kept and those dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...search.pareto import front
from .drawing import COLUMN, DROPPED, KEPT, drawing, grid, legend_above, log_y, note_below
from .merge_data import node_points, node_title
from .seeds import spread

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_ONE = 3.4  # inches, of a figure of one node


def pareto_drop(merges: pd.DataFrame, nodes: Sequence[int], title: str, score: str) -> Figure:
    """Cost against joint ``score`` of all points scored at each of ``nodes``, side by side.

    The picture of "Pareto drop" in arXiv 2512.06353, with cost in units of the node's share of the
    budget in the place of average bits. Raises BenchError where there is no such node.
    """
    width = COLUMN if len(nodes) > 1 else _ONE
    with drawing(width, 2.9) as figure:
        for number, node in enumerate(nodes, 1):
            axes = figure.add_subplot(1, len(nodes), number)
            _draw(axes, node_points(merges, node))
            axes.set_title(node_title(merges, node), loc="left", fontsize=7.5)
            axes.set_xlabel("cost / node's share of the budget")
        figure.axes[0].set_ylabel(f"joint score ({score})")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        legend_above(figure, dict(zip(labels, handles, strict=True)), width)
        note_below(
            figure, f"{title}. At cost 1 a node spends what it gets if all get alike.", width
        )
    return figure


def _draw(axes: Axes, points: pd.DataFrame) -> None:
    load, score = points["load"].to_numpy(), points["score"].to_numpy()
    kept = points["kept"].to_numpy()
    size = 9 if len(points) > 60 else 16
    edge = front(load, score)
    axes.axvline(1.0, color="#666666", linewidth=0.8, linestyle="--", zorder=1)
    axes.plot(load[edge], score[edge], drawstyle="steps-post", color="#0072B2", linewidth=0.9,
              label="undominated", zorder=2)  # fmt: skip
    axes.scatter(load[~kept], score[~kept], s=size, color=DROPPED, linewidths=0, zorder=3,
                 label="dropped")  # fmt: skip
    axes.scatter(load[kept], score[kept], s=2 * size, color=KEPT, edgecolors="white",
                 linewidths=0.4, zorder=4, label="kept")  # fmt: skip
    log_y(axes, [spread([value]) for value in score.tolist()])
    grid(axes)
