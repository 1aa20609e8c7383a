"""Figure: the course of training after quantization, a panel for each budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..records.runs import Runs
from ..records.statistics import Spread, spread, spread_label
from . import drawing
from .drawing import Picture
from .looks import FULL_COLOUR, Look, Style, is_context
from .search.runs import read_table
from .table import Block

_DASHED, _DOTTED = (0, (5, 3)), (0, (1, 1.2))
_KINDS = {"held-out, least marked": "-", "training": _DOTTED, "untuned": _DASHED}
Looks = Mapping[str, Look]


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


def tuning(
    model: str, found: Mapping[str, Sequence[Course]], style: Style | None = None
) -> Picture:
    """Draw held-out loss (solid, with its interval, least marked) and training loss (dotted).

    ``found`` are courses by budget; the dashed line is the loss before training.
    """
    style = style or Style()
    every = [course for panel in found.values() for course in panel]
    ranked = sorted(every, key=lambda course: course.held_out["mean"].min())
    looks = _looks(style, list(dict.fromkeys(course.method for course in ranked)))
    columns = drawing.columns_of(style, len(found))
    height = 0.3 + 1.75 * -(-len(found) // columns)
    budgets = ", ".join(found)
    with drawing.canvas(style, height, f"Losses of training: {model}, {budgets}") as picture:
        panels = drawing.panels(picture, len(found), columns)
        for axes, (budget, panel) in zip(panels, found.items(), strict=True):
            _draw(axes, panel, looks)
            axes.set(xlabel="training steps")
            if len(found) > 1:
                axes.set_title(budget)
        picture.supylabel("loss, in the tuner's weighting", fontsize=7.5)
        note = spread_label(course.seeds for course in every)
        if any(course.seeds > 1 for course in every):
            note += " Intervals of the held-out loss, at the steps that all seeds share."
        lines = {
            style.label(name): look | {"linestyle": "-"}
            for name, look in sorted(looks.items())
            if not is_context(look)
        }
        kinds = {kind: {"color": FULL_COLOUR, "linestyle": line} for kind, line in _KINDS.items()}
        handles = {name: Line2D([], [], **look) for name, look in (lines | kinds).items()}
        drawing.explain(picture, handles, note)
    return picture


def _looks(style: Style, ranked: Sequence[str]) -> Looks:
    """Return the looks of courses, whose names may end in a class of formats."""
    named = {name: name.partition(" ")[0] for name in ranked}
    looks = style.looks(list(dict.fromkeys(named.values())))
    return {name: looks[method] for name, method in named.items()}


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
