"""Figure: the course of training after quantization, a panel for each budget."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records.schema import JobRecord
from ..records.store import RecordStore
from .search.drawing import (
    COLUMN,
    PAGE,
    drawing,
    grid,
    legend_above,
    note_below,
    number,
    readable_ticks,
)
from .search.runs import read_table
from .search.seeds import Spread, spread, spread_label
from .style import FULL_COLOUR, look, save
from .table import Block, Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = Mapping[int, Spread]  # by training step
_WIDE = 8.0  # ratio of a loss axis from which the usual logarithmic ticks are dense enough
_DASHED, _DOTTED = (0, (5, 3)), (0, (1, 1.2))


@dataclass(frozen=True, eq=False)
class Course:
    """One method at one budget over its seeds: losses at the steps that all of them were judged at.

    ``held_out`` begins before the first step, ``training`` after it, where it is the mean over the
    steps since the judgement before.
    """

    method: str
    seeds: int
    held_out: Line
    training: Line


def write_tuning_figures(
    store: RecordStore,
    records: Iterable[JobRecord],
    table: Table,
    names: Sequence[str],
    folder: Path,
) -> list[Path]:
    """Writes ``tuning-NAME`` of every block of ``table`` with a tuned job; returns the paths.

    ``names`` are file name parts of the blocks. Raises BenchError where a curve cannot be read.
    """
    by_job = {record.job: record for record in records if record.status == "done"}
    paths: list[Path] = []
    for block, name in zip(table.blocks, names, strict=True):
        found = courses(block, by_job, store)
        if found:
            paths += save(tuning(block.model, found), folder / f"tuning-{name}")
    return paths


def courses(
    block: Block, by_job: Mapping[str, JobRecord], store: RecordStore
) -> dict[str, list[Course]]:
    """By budget, in the order of the leaderboard, those of the done jobs that left a curve."""
    tables: dict[str, dict[str, list[pd.DataFrame]]] = defaultdict(lambda: defaultdict(list))
    for row in block.rows:
        record = by_job.get(str(row["job"]))
        curve = None if record is None else read_table(store, record.job, "tuning")
        if record is not None and curve is not None and not curve.empty:
            tables[record.budget][record.method].append(curve)
    return {
        budget: [course(method, own) for method, own in sorted(methods.items())]
        for budget, methods in tables.items()
    }


def course(method: str, curves: Sequence[pd.DataFrame]) -> Course:
    """Of one or several seeds' curves, with the columns of ``tuning.loop.COLUMNS``."""
    return Course(method, len(curves), _line(curves, "held_out_loss"), _line(curves, "train_loss"))


def tuning(model: str, found: Mapping[str, Sequence[Course]]) -> Figure:
    """Held-out loss (solid, with its interval) and training loss (dotted) against steps.

    A marker is where the first is least, dashed the level before training. ``found`` are courses by
    budget; a method looks alike in all panels.
    """
    methods = sorted({own.method for panel in found.values() for own in panel})
    looks = {method: look(at) for at, method in enumerate(methods)}
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
        legend_above(figure, _handles(figure, looks), width)
        every = [own for panel in found.values() for own in panel]
        note_below(figure, _note(every), width)
    return figure


def _draw(axes: Axes, found: Sequence[Course], looks: Mapping[str, dict[str, Any]]) -> None:
    for own in found:
        looked = looks[own.method]
        untuned = own.held_out[min(own.held_out)].mean
        axes.axhline(untuned, color=looked["color"], linewidth=0.8, linestyle=_DASHED, zorder=2)
        for line, dashes, weight in ((own.held_out, "-", 1.2), (own.training, _DOTTED, 1.0)):
            axes.plot(
                list(line), [value.mean for value in line.values()],
                color=looked["color"], linestyle=dashes, linewidth=weight, zorder=3,
            )  # fmt: skip
        low, high = ([getattr(v, end) for v in own.held_out.values()] for end in ("low", "high"))
        axes.fill_between(
            list(own.held_out), low, high, color=looked["color"], alpha=0.18, linewidth=0
        )
        best = min(own.held_out, key=lambda step: own.held_out[step].mean)
        axes.plot(
            [best], [own.held_out[best].mean], color=looked["color"], marker=looked["marker"],
            markersize=5, linestyle="none", zorder=4, clip_on=False,
        )  # fmt: skip
    trained = [value.mean for own in found for value in own.training.values()]
    _log_losses(axes, [value for own in found for value in own.held_out.values()], trained)
    axes.set_xlabel("training steps")
    axes.set_xlim(left=0)
    grid(axes)


def _log_losses(axes: Axes, judged: Sequence[Spread], trained: Sequence[float]) -> None:
    """A logarithmic axis that holds all means; intervals are cut at a third of the least mean."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    means = [*(value.mean for value in judged), *trained]
    least = min(means)
    if least <= 0:  # a perfect student has no logarithm
        return
    low = max(min([*means, *(value.low for value in judged)]), least / 3)
    high = max([*means, *(value.high for value in judged)])
    room = max(high / low, 1.01) ** 0.06
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    if high / low >= _WIDE:
        readable_ticks(axes.yaxis, high / low)
        return
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(float(f"{value:.3g}"))))
    axes.yaxis.set_minor_locator(NullLocator())


def _handles(figure: Figure, looks: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Methods by colour and marker, and then what the kinds of lines are."""
    from matplotlib.lines import Line2D

    kinds = {"held-out, least marked": "-", "training": _DOTTED, "untuned": _DASHED}
    return {
        method: Line2D([], [], color=own["color"], marker=own["marker"], markersize=4)
        for method, own in looks.items()
    } | {
        kind: Line2D([], [], color=FULL_COLOUR, linewidth=1.0, linestyle=dashes)
        for kind, dashes in kinds.items()
    }


def _note(found: Sequence[Course]) -> str:
    text = spread_label(own.seeds for own in found)
    if any(own.seeds > 1 for own in found):
        text += " Intervals of the held-out loss; steps at which every seed was judged."
    return text


def _line(curves: Sequence[pd.DataFrame], column: str) -> Line:
    losses = [curve.set_index("step")[column].dropna() for curve in curves]
    shared = set.intersection(*(set(own.index) for own in losses))
    return {int(step): spread([float(own[step]) for own in losses]) for step in sorted(shared)}
