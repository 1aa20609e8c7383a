"""Figure: held-out error and Fréchet distance against one number of a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ...core.errors import BenchError, unknown
from ...records.columns import frechet_names
from ...records.settings import key_of, settings_of
from ...records.statistics import Spread, over_seeds, spread_label
from .. import drawing
from ..drawing import Picture
from ..looks import Style, look_in_order
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
        return {value: spread for value, spread in found.items() if spread is not None}


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
    groups = every.drop_duplicates(["path", "key", "value", "seed"]).groupby(["path", "key"])
    series = [SweepSeries(str(path), part["fixed"].iloc[0], part) for (path, _), part in groups]
    return [each for each in series if len(each.values) >= fewest]


def of_path(found: Sequence[SweepSeries], path: str) -> list[SweepSeries]:
    """Return the series of the setting ``path``. Raises BenchError if there is none."""
    valid = {series.path for series in found}
    if not valid:
        text = "no two methods of this run differ in one number alone"
        raise BenchError(f"nothing to scan by '{path}': {text}")
    if path not in valid:
        raise unknown("setting to scan", path, valid)
    return [series for series in found if series.path == path]


def labels_of(found: Sequence[SweepSeries]) -> list[str]:
    """Return what differs between series, such as ``tss, keep 4``; the searcher of a single one."""
    paths = dict.fromkeys(path for series in found for path in series.fixed)
    telling = [path for path in paths if len({_text(series, path) for series in found}) > 1]
    texts = [[_text(series, path) for path in telling or ["searcher.name"]] for series in found]
    return [", ".join(filter(None, parts)) for parts in texts]


def scan(
    comparison: SearchComparison,
    found: Sequence[SweepSeries],
    level: ByMethod | None = None,
    style: Style | None = None,
) -> Picture:
    """Draw held-out output MSE and Fréchet distance against one setting, a line for each series.

    Level lines are the rows in ``level`` by label, or methods without a search.
    """
    style = style or Style()
    if level is None:
        plain = comparison.plain.items()
        level = {f"{style.label(method)} (no search)": rows for method, rows in plain}
    every = pd.concat([series.rows for series in found])
    images = ", ".join(map(str, sorted(every["n_images"].unique())))
    texts = {
        "output_mse": "output MSE (held-out inputs)",
        "fd": f"{frechet_names(comparison.extractor)[0]} (N = {images})",
    }
    shown = {metric: text for metric, text in texts.items() if every[metric].notna().any()}
    lines: dict[str, Any] = {}
    columns = drawing.columns_of(style, len(shown))
    height = 0.1 + 1.75 * -(-len(shown) // columns)
    with drawing.canvas(style, height, f"Scan of {found[0].path}: {comparison.title}") as picture:
        panels = drawing.panels(picture, len(shown), columns)
        for axes, (metric, text) in zip(panels, shown.items(), strict=True):
            levels = {label: over_seeds(rows, metric) for label, rows in level.items()}
            _draw(axes, found, metric, [spread for spread in levels.values() if spread])
            lines |= drawing.reference_lines(axes, levels)
            axes.set(ylabel=text, xlabel=found[0].path)
        seeds = [int(n) for series in found for n in series.rows.groupby("value").size()]
        note = " FD of one seed: its 95 % jackknife interval." if 1 in seeds else ""
        handles = drawing.handles_of(panels[0]) | lines
        drawing.explain(picture, handles, spread_label(seeds) + note)
    return picture


def _draw(axes: Axes, found: Sequence[SweepSeries], metric: str, levels: Sequence[Spread]) -> None:
    """Draw a line for each series; the axis has room for ``levels``, without their intervals."""
    every = [(level.mean,) * 3 for level in levels]
    for at, (series, label) in enumerate(zip(found, labels_of(found), strict=True)):
        scores, looks = series.scores(metric), look_in_order(at)
        axes.plot(list(scores), [spread.mean for spread in scores.values()], label=label, **looks)
        for value, spread in scores.items():
            drawing.error_bar(axes, value, spread, **looks)
        every += [spread[:3] for spread in scores.values()]
    drawing.log_x(axes, [value for series in found for value in series.values])
    drawing.log_y(axes, every)


def _text(series: SweepSeries, path: str) -> str:
    value = series.fixed.get(path)
    if value is None:
        return ""
    shown = "/".join(map(str, value)) if isinstance(value, list | tuple) else f"{value}"
    name = path.rpartition(".")[2]
    return shown if name == "name" else f"{name} {shown}"
