"""Figure: the course of training after quantization, a panel for each budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..records.runs import Runs
from ..records.statistics import Spread, spread, spread_label
from . import drawing
from .search.runs import read_table
from .table import Block

_DASHED, _DOTTED = (0, (5, 3)), (0, (1, 1.2))
_KINDS = {"held-out, least marked": "-", "training": _DOTTED, "untuned": _DASHED}
Looks = Mapping[str, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Course:
    """One method at one budget: losses at the steps at which all of its seeds were evaluated.

    ``held_out`` and ``training`` have ``mean``, ``low`` and ``high`` by training step. The first
    begins before training, the second is a mean over the steps since the evaluation before.
    """

    method: str
    seeds: int
    held_out: pd.DataFrame
    training: pd.DataFrame


def courses(block: Block, runs: Runs) -> dict[str, list[Course]]:
    """Return the courses of the jobs that left a curve, by budget in leaderboard order.

    Raises BenchError if a curve cannot be read.
    """
    found: dict[str, list[Course]] = {}
    for budget, rows in block.done.groupby("budget", sort=False):
        names = rows["method"]
        if rows["format"].nunique() > 1:
            names = names + " " + rows["format"]
        for method, seeds in rows.groupby(names):
            curves = [read_table(runs, job, "tuning") for job in seeds["job"]]
            known = [curve for curve in curves if curve is not None and not curve.empty]
            if known:
                found.setdefault(str(budget), []).append(course(str(method), known))
    return found


def course(method: str, curves: Sequence[pd.DataFrame]) -> Course:
    """Return the course of one or several seeds' curves (columns of ``tuning.loop.COLUMNS``)."""
    return Course(method, len(curves), _line(curves, "held_out_loss"), _line(curves, "train_loss"))


def _line(curves: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    losses = pd.concat([curve.set_index("step")[column].dropna() for curve in curves], axis=1)
    shared = losses.dropna().sort_index()
    rows = [spread(list(row)) for row in shared.to_numpy()]
    return pd.DataFrame(rows, index=shared.index, columns=list(Spread._fields))


def tuning(model: str, found: Mapping[str, Sequence[Course]]) -> Figure:
    """Draw held-out loss (solid, with its interval, least marked) and training loss (dotted).

    ``found`` are courses by budget; the dashed line is the loss before training.
    """
    every = [course for panel in found.values() for course in panel]
    methods = sorted({course.method for course in every})
    looks = {method: drawing.look(at) for at, method in enumerate(methods)}
    columns = min(2, len(found))
    width = (drawing.COLUMN, drawing.PAGE)[columns - 1]
    with drawing.canvas(width, 0.9 + 2.4 * -(-len(found) // columns)) as figure:
        panels = drawing.panels(figure, len(found), columns)
        for axes, (budget, panel) in zip(panels, found.items(), strict=True):
            _draw(axes, panel, looks)
            axes.set(title=f"{model}, {budget}", xlabel="training steps")
        figure.supylabel("loss, in units of the tuner's weighting", fontsize=8)
        note = spread_label(course.seeds for course in every)
        if any(course.seeds > 1 for course in every):
            note += " Intervals of the held-out loss, at the steps that all seeds share."
        lines = {name: look | {"linestyle": "-"} for name, look in looks.items()}
        colour = drawing.FULL_COLOUR
        lines |= {kind: {"color": colour, "linestyle": dashes} for kind, dashes in _KINDS.items()}
        handles = {name: Line2D([], [], **look) for name, look in lines.items()}
        drawing.explain(figure, handles, note)
    return figure


def _draw(axes: Axes, found: Sequence[Course], looks: Looks) -> None:
    for course in found:
        colour, mean = looks[course.method]["color"], course.held_out["mean"]
        axes.axhline(mean.iloc[0], color=colour, linewidth=0.8, linestyle=_DASHED, zorder=2)
        axes.plot(mean, color=colour, zorder=3)
        axes.plot(course.training["mean"], color=colour, linestyle=_DOTTED, zorder=3)
        low, high = course.held_out["low"], course.held_out["high"]
        axes.fill_between(mean.index, low, high, color=colour, alpha=0.18, linewidth=0)
        least = mean[mean.index == mean.idxmin()]
        marker = looks[course.method]["marker"]
        axes.plot(least, color=colour, marker=marker, linestyle="none", zorder=4, clip_on=False)
    lines = pd.concat([line for course in found for line in (course.held_out, course.training)])
    drawing.log_y(axes, lines.to_numpy(), ratio=1.0)
    axes.set_xlim(left=0)
