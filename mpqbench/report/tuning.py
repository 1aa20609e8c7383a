"""Figure: the course of training after quantization, a panel for each budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..records.statistics import Spread, spread, spread_label
from ..records.store import RecordStore
from .drawing import (
    COLUMN,
    FULL_COLOUR,
    PAGE,
    drawing,
    grid,
    legend_above,
    log_y,
    look,
    note_below,
    panels,
    save,
)
from .search.runs import read_table
from .table import Block, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHED, _DOTTED = (0, (5, 3)), (0, (1, 1.2))


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


def write_tuning_figures(table: Table, store: RecordStore, folder: Path) -> list[Path]:
    """Write ``tuning-BLOCK`` of every block of ``table`` with a tuned job; return the paths.

    Raises BenchError if a curve cannot be read.
    """
    paths: list[Path] = []
    for block in table.blocks:
        found = courses(block, store)
        if found:
            paths += save(tuning(block.model, found), folder / f"tuning-{block.name}")
    return paths


def courses(block: Block, store: RecordStore) -> dict[str, list[Course]]:
    """Return the courses of the jobs that left a curve, by budget in leaderboard order."""
    found: dict[str, list[Course]] = {}
    for budget, rows in block.done.groupby("budget", sort=False):
        for method, own in rows.groupby("method"):
            curves = [read_table(store, job, "tuning") for job in own["job"]]
            known = [curve for curve in curves if curve is not None and not curve.empty]
            if known:
                found.setdefault(str(budget), []).append(course(str(method), known))
    return found


def course(method: str, curves: Sequence[pd.DataFrame]) -> Course:
    """Return the course of one or several seeds' curves (columns of ``tuning.loop.COLUMNS``)."""
    return Course(method, len(curves), _line(curves, "held_out_loss"), _line(curves, "train_loss"))


def tuning(model: str, found: Mapping[str, Sequence[Course]]) -> Figure:
    """Draw held-out loss (solid, with its interval) and training loss (dotted) against steps.

    A marker is at the least held-out loss; the dashed line is the loss before training. ``found``
    are courses by budget; a method looks alike in all panels.
    """
    every = [own for panel in found.values() for own in panel]
    looks = {method: look(at) for at, method in enumerate(sorted({own.method for own in every}))}
    columns = min(2, len(found))
    with drawing((COLUMN, PAGE)[columns - 1], 0.9 + 2.4 * -(-len(found) // columns)) as figure:
        axes_of = panels(figure, len(found), columns)
        for axes, (budget, own) in zip(axes_of, found.items(), strict=True):
            _draw(axes, own, looks)
            axes.set_title(f"{model}, {budget}", loc="left")
        figure.supylabel("loss, in units of the tuner's weighting", fontsize=8)
        legend_above(figure, _handles(looks))
        note = spread_label(own.seeds for own in every)
        if any(own.seeds > 1 for own in every):
            note += " Intervals of the held-out loss, at the steps that all seeds share."
        note_below(figure, note)
    return figure


def _draw(axes: Axes, found: Sequence[Course], looks: Mapping[str, dict[str, Any]]) -> None:
    for own in found:
        colour, mean = looks[own.method]["color"], own.held_out["mean"]
        axes.axhline(mean.iloc[0], color=colour, linewidth=0.8, linestyle=_DASHED, zorder=2)
        axes.plot(mean, color=colour, zorder=3)
        axes.plot(own.training["mean"], color=colour, linestyle=_DOTTED, zorder=3)
        low, high = own.held_out["low"], own.held_out["high"]
        axes.fill_between(mean.index, low, high, color=colour, alpha=0.18, linewidth=0)
        least = mean[mean.index == mean.idxmin()]
        marker = looks[own.method]["marker"]
        axes.plot(least, color=colour, marker=marker, linestyle="none", zorder=4, clip_on=False)
    lines = [line for own in found for line in (own.held_out, own.training)]
    log_y(axes, [Spread(*row) for line in lines for row in line.to_numpy()], ratio=1.0)
    axes.set_xlabel("training steps")
    axes.set_xlim(left=0)
    grid(axes)


def _handles(looks: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return legend handles of the methods, then of the kinds of lines."""
    from matplotlib.lines import Line2D

    kinds = {"held-out, least marked": "-", "training": _DOTTED, "untuned": _DASHED}
    handles = {
        name: Line2D([], [], color=own["color"], marker=own["marker"])
        for name, own in looks.items()
    }
    return handles | {
        kind: Line2D([], [], color=FULL_COLOUR, linestyle=dashes) for kind, dashes in kinds.items()
    }


def _line(curves: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    losses = pd.concat([curve.set_index("step")[column].dropna() for curve in curves], axis=1)
    shared = losses.dropna().sort_index()
    rows = [spread(list(row)) for row in shared.to_numpy()]
    return pd.DataFrame(rows, index=shared.index, columns=list(Spread._fields))
