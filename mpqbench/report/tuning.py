"""Figure: the course of training after quantization, a panel for each budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..records.statistics import spread, spread_label
from ..records.store import RecordStore
from .drawing import (
    COLUMN,
    FULL_COLOUR,
    PAGE,
    drawing,
    grid,
    legend_above,
    look,
    note_below,
    number,
    readable_ticks,
    save,
)
from .search.runs import read_table
from .table import Block, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 8.0  # ratio of a loss axis from which the usual logarithmic ticks are dense enough
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
    lines = math.ceil(len(found) / columns)
    width = COLUMN if columns == 1 else PAGE
    with drawing(width, 0.9 + 2.4 * lines) as figure:
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for axes, (budget, own) in zip(panels, found.items(), strict=False):
            _draw(axes, own, looks)
            axes.set_title(f"{model}, {budget}", loc="left")
        for axes in panels[len(found) :]:
            axes.remove()
        figure.supylabel("loss, in units of the tuner's weighting", fontsize=8)
        legend_above(figure, _handles(looks), width)
        note = spread_label(own.seeds for own in every)
        if any(own.seeds > 1 for own in every):
            note += " Intervals of the held-out loss, at the steps that all seeds share."
        note_below(figure, note, width)
    return figure


def _draw(axes: Axes, found: Sequence[Course], looks: Mapping[str, dict[str, Any]]) -> None:
    for own in found:
        colour, held_out = looks[own.method]["color"], own.held_out
        least = int(held_out["mean"].argmin())
        axes.axhline(
            held_out["mean"].iloc[0], color=colour, linewidth=0.8, linestyle=_DASHED, zorder=2
        )
        for line, dashes, weight in ((held_out, "-", 1.2), (own.training, _DOTTED, 1.0)):
            axes.plot(line["mean"], color=colour, linestyle=dashes, linewidth=weight, zorder=3)
        axes.fill_between(
            held_out.index, held_out["low"], held_out["high"], color=colour, alpha=0.18, linewidth=0
        )
        axes.plot(
            [held_out.index[least]], [held_out["mean"].iloc[least]], color=colour,
            marker=looks[own.method]["marker"], markersize=5, linestyle="none", zorder=4,
            clip_on=False,
        )  # fmt: skip
    _log_losses(axes, found)
    axes.set_xlabel("training steps")
    axes.set_xlim(left=0)
    grid(axes)


def _log_losses(axes: Axes, found: Sequence[Course]) -> None:
    """Make the axis logarithmic; intervals are cut at a third of the least mean."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    held_out = pd.concat([own.held_out for own in found])
    means = pd.concat([held_out["mean"], *(own.training["mean"] for own in found)])
    least = means.min()
    if least <= 0:  # a perfect student has no logarithm
        return
    low = max(min(least, held_out["low"].min()), least / 3)
    high = max(means.max(), held_out["high"].max())
    room = max(high / low, 1.01) ** 0.06
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    if high / low >= _WIDE:
        readable_ticks(axes.yaxis, high / low)
        return
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(float(f"{value:.3g}"))))
    axes.yaxis.set_minor_locator(NullLocator())


def _handles(looks: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return legend handles of the methods, then of the kinds of lines."""
    from matplotlib.lines import Line2D

    kinds = {"held-out, least marked": "-", "training": _DOTTED, "untuned": _DASHED}
    return {
        method: Line2D([], [], color=own["color"], marker=own["marker"], markersize=4)
        for method, own in looks.items()
    } | {
        kind: Line2D([], [], color=FULL_COLOUR, linewidth=1.0, linestyle=dashes)
        for kind, dashes in kinds.items()
    }


def _line(curves: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    losses = pd.concat([curve.set_index("step")[column].dropna() for curve in curves], axis=1)
    shared = losses.dropna().sort_index()
    rows = [spread(list(row)) for row in shared.to_numpy()]
    return pd.DataFrame(rows, index=shared.index, columns=["mean", "low", "high", "seeds"])
