"""Figure: held-out error and Fréchet distance against one number of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...core.errors import BenchError, unknown
from ...records.columns import frechet_names
from ...records.settings import key_of, settings_of
from ...records.statistics import Spread, over_seeds, spread_label
from ..drawing import (
    COLUMN,
    drawing,
    error_bar,
    grid,
    handles_of,
    legend_above,
    log_x,
    log_y,
    look,
    note_below,
    panels,
    reference_lines,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .runs import ByMethod, SearchComparison

METRICS = ("output_mse", "fd")  # a row without either is not in a scan
FEWEST = 3  # values from which on a scan is drawn unasked


@dataclass(frozen=True, eq=False)
class SweepSeries:
    """Rows of a records frame with the ``value`` of the setting ``path``; ``fixed`` is the rest."""

    path: str
    fixed: Mapping[str, Any]
    rows: pd.DataFrame

    @property
    def values(self) -> list[float]:
        """The values of the setting, ascending."""
        return sorted(self.rows["value"].unique())

    def scores(self, metric: str) -> dict[float, Spread]:
        """Return the spread over seeds of ``metric`` at every value that has one."""
        rows = self.rows
        found = {v: over_seeds(rows[rows["value"] == v], metric) for v in self.values}
        return {value: own for value, own in found.items() if own is not None}


def sweep_series(rows: pd.DataFrame, fewest: int = 2) -> list[SweepSeries]:
    """Return the methods that differ in one number of their recipe and in nothing else.

    ``rows`` are of a records frame; a series has at least ``fewest`` values. Of methods with equal
    settings the first by job counts.
    """
    found = []
    measured = rows[rows["is_done"] & rows[list(METRICS)].notna().any(axis=1)].sort_values("job")
    for at, recipe in measured["recipe"].items():
        settings = settings_of(recipe)
        for path, value in settings.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = {key: other for key, other in settings.items() if key != path}
                found.append((at, path, key_of(rest), rest, float(value)))
    names = ["at", "path", "key", "fixed", "value"]
    every = pd.DataFrame(found, columns=names).set_index("at").join(measured)
    every = every.drop_duplicates(["path", "key", "value", "seed"])
    return [
        SweepSeries(str(path), own["fixed"].iloc[0], own)
        for (path, _), own in every.groupby(["path", "key"])
        if own["value"].nunique() >= fewest
    ]


def of_path(found: Sequence[SweepSeries], path: str) -> list[SweepSeries]:
    """Return the series of the setting ``path``. Raises BenchError if there is none."""
    valid = {series.path for series in found}
    if not valid:
        raise BenchError(
            f"nothing to scan by '{path}': no two methods of this run differ in one number alone"
        )
    if path not in valid:
        raise unknown("setting to scan", path, valid)
    return [series for series in found if series.path == path]


def labels_of(found: Sequence[SweepSeries]) -> list[str]:
    """Return what differs between series, such as ``tss, keep 4``; the searcher of a single one."""
    paths = dict.fromkeys(path for series in found for path in series.fixed)
    telling = [path for path in paths if len({_text(series, path) for series in found}) > 1]
    return [
        ", ".join(filter(None, (_text(series, path) for path in telling or ["searcher.name"])))
        for series in found
    ]


def scan(
    comparison: SearchComparison, found: Sequence[SweepSeries], level: ByMethod | None = None
) -> Figure:
    """Draw held-out output MSE and Fréchet distance against one setting, a line for each series.

    Level lines are the rows in ``level`` by their labels, or methods without a search.
    """
    levels = level
    if levels is None:
        levels = {f"{method} (no search)": own for method, own in comparison.plain.items()}
    labels, every = labels_of(found), pd.concat([series.rows for series in found])
    images = ", ".join(map(str, sorted(every["n_images"].unique())))
    texts = {
        "output_mse": "output MSE (held-out inputs)",
        "fd": f"{frechet_names(comparison.extractor)[0]} (N = {images})",
    }
    shown = {metric: text for metric, text in texts.items() if every[metric].notna().any()}
    lines: dict[str, Any] = {}
    with drawing(COLUMN, 2.6) as figure:
        every_panel = panels(figure, len(shown), len(shown))
        for axes, (metric, text) in zip(every_panel, shown.items(), strict=True):
            means = {label: over_seeds(own, metric) for label, own in levels.items()}
            _draw(axes, found, labels, metric, [own.mean for own in means.values() if own])
            lines |= reference_lines(axes, means)
            axes.set_ylabel(text)
            axes.set_xlabel(found[0].path)
        every_panel[0].set_title(comparison.title, loc="left")
        legend_above(figure, handles_of(every_panel[0]) | lines)
        note_below(figure, _note(found))
    return figure


def _draw(
    axes: Axes,
    found: Sequence[SweepSeries],
    labels: Sequence[str],
    metric: str,
    levels: Sequence[float],
) -> None:
    every = [Spread(mean, mean, mean, 1) for mean in levels]  # the axis holds these lines too
    for number, (series, label) in enumerate(zip(found, labels, strict=True)):
        scores = series.scores(metric)
        means = [own.mean for own in scores.values()]
        axes.plot(list(scores), means, label=label, **look(number))
        for value, own in scores.items():
            error_bar(axes, value, own, **look(number))
        every += scores.values()
    log_x(axes, [value for series in found for value in series.values])
    log_y(axes, every)
    grid(axes)


def _note(found: Sequence[SweepSeries]) -> str:
    seeds = [int(n) for series in found for n in series.rows.groupby("value").size()]
    single = " FD of one seed: its 95 % jackknife interval." if 1 in seeds else ""
    return f"{spread_label(seeds)}{single}"


def _text(series: SweepSeries, path: str) -> str:
    value = series.fixed.get(path)
    if value is None:
        return ""
    shown = "/".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
    name = path.rpartition(".")[2]
    return shown if name == "name" else f"{name} {shown}"
