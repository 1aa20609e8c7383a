"""Figure: what one number of a recipe does to the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..columns import frechet_names
from ..style import look
from .drawing import (
    COLUMN,
    drawing,
    error_bar,
    grid,
    legend_above,
    log_x,
    log_y,
    note_below,
    reference_lines,
)
from .scan_data import SweepSeries, labels_of
from .seeds import Spread, over_seeds, spread_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .runs import ByMethod, SearchComparison

METRICS = frozenset({"output_mse", "fd"})  # a record without either has no place in a scan


def scan(
    contest: SearchComparison, found: Sequence[SweepSeries], level: ByMethod | None = None
) -> Figure:
    """Held-out output MSE and Fréchet distance against one setting, a line for each family.

    All families are of the same setting, and their records have one of ``METRICS`` at least.
    Level lines are the records in ``level`` by their labels, or methods without a search.
    """
    levels = level
    if levels is None:
        levels = {f"{method} (no search)": own for method, own in contest.plain.items()}
    path, labels = found[0].path, labels_of(found)
    texts = {
        "output_mse": "output MSE (held-out inputs)",
        "fd": f"{frechet_names(contest.extractor)[0]} (N = {_images(found)})",
    }
    shown = {metric: text for metric, text in texts.items() if any(f.scores(metric) for f in found)}
    lines: dict[str, Any] = {}
    with drawing(COLUMN, 2.6) as figure:
        for number, (metric, text) in enumerate(shown.items(), 1):
            axes = figure.add_subplot(1, len(shown), number)
            means = {label: over_seeds(own, metric) for label, own in levels.items()}
            _draw(axes, found, labels, metric, [own.mean for own in means.values() if own])
            lines |= reference_lines(axes, means)
            axes.set_ylabel(text)
            axes.set_xlabel(path)
            axes.set_title(contest.title if number == 1 else "", loc="left")
        marks, names = figure.axes[0].get_legend_handles_labels()
        legend_above(figure, dict(zip(names, marks, strict=True)) | lines, COLUMN)
        note_below(figure, _note(found), COLUMN)
    return figure


def _draw(
    axes: Axes,
    found: Sequence[SweepSeries],
    labels: Sequence[str],
    metric: str,
    levels: Sequence[float],
) -> None:
    every = [Spread(mean, mean, mean, 1) for mean in levels]  # the axis holds these lines too
    for number, (family, label) in enumerate(zip(found, labels, strict=True)):
        scores = family.scores(metric)
        means = [own.mean for own in scores.values()]
        axes.plot(list(scores), means, label=label, markersize=4, linewidth=1.1, **look(number))
        for value, own in scores.items():
            error_bar(axes, value, own, **look(number))
        every += scores.values()
    log_x(axes, [value for family in found for value in family.records])
    log_y(axes, every)
    grid(axes)


def _images(found: Sequence[SweepSeries]) -> str:
    counts = {r.n_images for family in found for own in family.records.values() for r in own}
    return ", ".join(map(str, sorted(counts)))


def _note(found: Sequence[SweepSeries]) -> str:
    seeds = [len(own) for family in found for own in family.records.values()]
    single = " FD of one seed: its 95 % jackknife interval." if 1 in seeds else ""
    return f"{spread_label(seeds)}{single}"
