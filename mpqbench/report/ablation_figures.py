"""Figures of an ablation: effects with their intervals, interactions of factors, and sweeps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..records.ablation import SWEEP_COLUMNS, AblationResult, change_of, response_headers
from ..records.frame import records_frame
from ..records.schema import FULL_METHOD
from .drawing import (
    COLOURS,
    FULL_COLOUR,
    LOG_FROM,
    PAGE,
    drawing,
    grid,
    legend_above,
    look,
    note_below,
    readable_ticks,
    save,
)
from .search.runs import SearchComparison
from .search.scan import METRICS, SweepSeries, scan
from .table import Block

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Levels = Mapping[str, Sequence[str]]
_KINDS = {
    "contrast": ("averaged over the other factors", COLOURS[0], COLOURS[0], "o", 0.13),
    "alone": ("all else at the base", COLOURS[1], "white", "s", -0.13),
}


def write_effect_figures(result: AblationResult, extractor: str | None, folder: Path) -> list[Path]:
    """Write ``effects-BUDGET`` and, with two factors or more, ``interactions-RESPONSE-BUDGET``.

    Returns the paths.
    """
    headers = response_headers(extractor)
    effects = result.effects
    paths: list[Path] = []
    if effects is None or effects.empty:
        return paths
    log = effects["scale"].iloc[0] == "log"
    for budget, own in effects.groupby("budget", sort=False):
        shown = own[own["kind"].isin(list(_KINDS))]
        paths += save(effect_figure(shown, headers, log, str(budget)), folder / f"effects-{budget}")
    for (budget, response), values in result.means.items():
        if len(result.levels) > 1 and np.isfinite(values).any():
            figure = interaction_figure(result.levels, values, headers[response], log, budget)
            paths += save(figure, folder / f"interactions-{response}-{budget}")
    return paths


def write_sweep_figures(result: AblationResult, block: Block, folder: Path) -> list[Path]:
    """Write ``scan-SETTING-MODEL-BUDGET`` of every setting and budget with two values done.

    Levels without the setting are level lines, and full precision if all points share a protocol.
    ``block`` is the first of the table of cells. Returns the paths.
    """
    frame = pd.concat([records_frame(batch) for batch in result.batches], ignore_index=True)
    frame = frame.sort_values(["bits", "budget"], ascending=[False, True])
    done = frame[frame["is_done"] & frame[list(METRICS)].notna().any(axis=1)]
    full = done[done["is_full"]]
    setting, value = SWEEP_COLUMNS
    factors = [name for name in result.cells if name not in (*SWEEP_COLUMNS, "method")]
    paths: list[Path] = []
    for path, cells in result.cells.groupby(setting, sort=False):
        lines = cells[factors[0]] if factors else pd.Series(result.method, cells.index)
        own = cells[["method", value]].assign(line=lines).merge(done, on="method")
        # Budgets in the order of the records, which is that of the table.
        for budget in frame.loc[~frame["is_full"], "budget"].unique():
            rows = own[own["budget"] == budget]
            swept, plain = rows[rows[value] != ""], rows[rows[value] == ""]
            swept = swept.assign(value=swept[value].astype(float))
            # What differs between the series of a scan is their label: here the name of the line.
            series = [
                SweepSeries(str(path), {"searcher.name": line}, part)
                for line, part in swept.groupby("line", sort=False)
            ]
            if not any(part.rows["value"].nunique() > 1 for part in series):
                continue
            level = {str(line): part for line, part in plain.groupby("line", sort=False)}
            protocols = list(swept["protocol"])
            if all(protocol == protocols[0] for protocol in protocols):
                same = full[full["protocol"].map(lambda protocol, p=protocols[0]: protocol == p)]
                level |= {FULL_METHOD: same} if len(same) else {}
            place = f"{block.name}-{budget}"
            extractor = next(iter(done["extractor"].dropna()), None)
            comparison = SearchComparison(place, block.model, budget, extractor, {}, {})
            paths += save(scan(comparison, series, level), folder / f"scan-{path}-{place}")
    return paths


def effect_figure(
    effects: pd.DataFrame, headers: Mapping[str, str], log: bool, title: str
) -> Figure:
    """Draw a row for every change of a level and a panel for every response."""
    changes = list(dict.fromkeys(change_of(row) for row in effects.to_dict("records")))
    responses = list(dict.fromkeys(effects.response))
    width = 1.6 + 2.2 * len(responses)
    with drawing(width, 1.2 + 0.34 * len(changes)) as figure:
        panels: Any = figure.subplots(1, len(responses), sharey=True, squeeze=False)[0]
        for axes, response in zip(panels, responses, strict=True):
            _forest(axes, effects[effects.response == response], changes, log)
            axes.set_xlabel(f"{headers[response]}, {'ratio' if log else 'difference'}")
        panels[0].set_yticks(range(len(changes)), changes)
        panels[0].set_ylim(len(changes) - 0.5, -0.5)
        panels[0].set_title(title, loc="left")
        handles: dict[str, Any] = {}
        for axes in panels:
            marks, names = axes.get_legend_handles_labels()
            handles |= dict(zip(names, marks, strict=True))
        if handles:
            legend_above(figure, handles, width)
        note_below(figure, _interval_note(effects, headers), width)
    return figure


def interaction_figure(
    levels: Levels, values: np.ndarray, header: str, log: bool, title: str
) -> Figure:
    """Draw a panel for every pair of factors, with a line for each level of the second.

    Points are means over the cells that share the two levels; a mean that lacks a cell is missing.
    """
    pairs = list(itertools.combinations(range(len(levels)), 2))
    columns = min(3, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    width = PAGE * columns / 3 + 0.4 * (columns < 3)
    scaled = np.log(values) if log else values
    with drawing(width, 0.4 + 2.3 * rows) as figure:
        panels: Any = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, pair in itertools.zip_longest(panels.flat, pairs):
            if pair is None:
                axes.set_visible(False)
                continue
            means = scaled.mean(axis=tuple(set(range(values.ndim)) - set(pair)))
            _lines(axes, levels, pair, np.exp(means) if log else means)
        if log:
            _log_y(panels.flat[0], scaled)
        for axes in panels[:, 0]:
            axes.set_ylabel(header)
        kind = "geometric means" if log else "means"
        parallel = "On this scale parallel" if log else "Parallel"
        text = (
            f"{title}: {kind} over the other factors and seeds. {parallel} lines: no interaction."
        )
        note_below(figure, text, width)
    return figure


def _interval_note(effects: pd.DataFrame, headers: Mapping[str, str]) -> str:
    without = [headers[str(r)] for r, own in effects.groupby("response") if own.low.isna().all()]
    if not without:
        return "95 % intervals, which may be smaller than a marker."
    rest = "" if len(without) == effects.response.nunique() else "95 % intervals; "
    return f"{rest}no intervals of {' and '.join(without)}."


def _forest(axes: Axes, effects: pd.DataFrame, changes: Sequence[str], log: bool) -> None:
    axes.axvline(1 if log else 0, color=FULL_COLOUR, linewidth=0.8)
    ends: list[float] = []
    for kind, (label, colour, face, marker, shift) in _KINDS.items():
        rows = effects[(effects.kind == kind) & effects.effect.notna()].to_dict("records")
        for number, row in enumerate(rows):
            known = not math.isnan(row["low"])
            low, high = (row["low"], row["high"]) if known else (row["effect"], row["effect"])
            axes.errorbar(
                [row["effect"]], [changes.index(change_of(row)) + shift],
                xerr=[[row["effect"] - low], [high - row["effect"]]] if known else None,
                fmt=marker, color=colour, markerfacecolor=face, markersize=4, elinewidth=0.9,
                capsize=2, label="" if number else label,
            )  # fmt: skip
            ends += [low, high]
    grid(axes)
    if log:
        _log_x(axes, [1.0, *ends])


def _log_x(axes: Axes, ends: Iterable[float]) -> None:
    """Make the axis logarithmic, with room at both ends."""
    low, high = min(ends := list(ends)), max(ends)
    room = max((high / low) ** 0.06, 1.02)
    axes.set_xscale("log")
    axes.set_xlim(low / room, high * room)
    _ticks(axes.xaxis, high / low, 5)


def _log_y(axes: Axes, scaled: np.ndarray) -> None:
    known = np.exp(scaled[np.isfinite(scaled)])
    axes.set_yscale("log")
    _ticks(axes.yaxis, float(known.max() / known.min()), 7)


def _ticks(axis: Any, ratio: float, most: int) -> None:
    """Label an axis with round numbers; if its ends are close, with those of a linear axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    if ratio >= LOG_FROM:
        readable_ticks(axis, ratio)
        return
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axis.set_minor_locator(NullLocator())


def _lines(axes: Axes, levels: Levels, pair: tuple[int, int], means: np.ndarray) -> None:
    """Draw ``means`` (levels of the first factor, levels of the second)."""
    (across, ticks), (lines, names) = (list(levels.items())[axis] for axis in pair)
    for number, name in enumerate(names):
        axes.plot(
            range(len(ticks)), means[:, number], label=name, markersize=4, linewidth=1.1,
            **look(number),
        )  # fmt: skip
    axes.set_xticks(range(len(ticks)), list(ticks))
    axes.set_xlim(-0.3, len(ticks) - 0.7)
    axes.set_xlabel(across)
    axes.legend(
        title=lines, frameon=False, title_fontsize=7, loc="lower left", bbox_to_anchor=(-0.05, 1),
        ncols=len(names) if sum(map(len, names)) < 20 else 1, handlelength=1.2, columnspacing=0.8,
        handletextpad=0.4, alignment="left",
    )  # fmt: skip
    grid(axes)
