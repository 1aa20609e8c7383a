"""Figures of an ablation: effects with their intervals, interactions of factors, and sweeps."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..records.ablation import SWEEP_COLUMNS, AblationResult, change_of, response_headers
from ..records.frame import records_frame
from ..records.schema import FULL_METHOD
from . import drawing
from .drawing import Picture
from .looks import FULL_COLOUR, Style, look_in_order
from .search.runs import SearchComparison
from .search.scan import METRICS, SweepSeries, scan
from .table import Block

Levels = Mapping[str, Sequence[str]]
Named = Iterator[tuple[str, Picture]]
_KINDS = {"contrast": "averaged over the other factors", "alone": "all else at the base"}


def effect_figures(
    result: AblationResult, effects: pd.DataFrame, extractor: str | None, style: Style
) -> Named:
    """Yield ``effects-BUDGET`` and, with two factors or more, ``interactions-RESPONSE-BUDGET``."""
    if effects.empty:
        return
    yield from effects_by_budget(effects, extractor, style)
    log, headers = effects["scale"].iloc[0] == "log", response_headers(extractor)
    for (budget, response), values in result.means.items():
        if len(result.levels) > 1 and np.isfinite(values).any():
            words = headers[response], f"Interactions of {result.method} at {budget}"
            figure = interaction_figure(result.levels, values, words, log, style)
            yield f"interactions-{response}-{budget}", figure


def effects_by_budget(effects: pd.DataFrame, extractor: str | None, style: Style) -> Named:
    """Yield ``effects-BUDGET`` from the rows of ``effects.csv``."""
    headers, log = response_headers(extractor), effects["scale"].iloc[0] == "log"
    for budget, rows in effects.groupby("budget", sort=False):
        shown = rows[rows["kind"].isin(list(_KINDS))]
        title = f"Effects of single changes at {budget}"
        if len(shown):
            yield f"effects-{budget}", effect_figure(shown, headers, log, title, style)


def sweep_figures(result: AblationResult, block: Block, style: Style) -> Named:
    """Yield ``scan-SETTING-MODEL-BUDGET`` of every setting and budget with two values done.

    Levels without the setting are level lines, and full precision if all points share a protocol.
    ``block`` is the first of the table of cells.
    """
    frame = pd.concat([records_frame(batch) for batch in result.batches], ignore_index=True)
    frame = frame.sort_values(["bits", "budget"], ascending=[False, True])
    done = frame[frame["is_done"] & frame[list(METRICS)].notna().any(axis=1)]
    full, extractor = done[done["is_full"]], next(iter(done["extractor"].dropna()), None)
    setting, value = SWEEP_COLUMNS
    factors = [name for name in result.cells if name not in (*SWEEP_COLUMNS, "method")]
    for path, cells in result.cells.groupby(setting, sort=False):
        lines = cells[factors[0]] if factors else pd.Series(result.method, cells.index)
        points = cells[["method", value]].assign(line=lines).merge(done, on="method")
        # Budgets in the order of the records, which is that of the table.
        for budget in frame.loc[~frame["is_full"], "budget"].unique():
            rows = points[points["budget"] == budget]
            swept, plain = rows[rows[value] != ""], rows[rows[value] == ""]
            swept = swept.assign(value=swept[value].astype(float))
            # What differs between the series of a scan is their label: here the name of the line.
            groups = swept.groupby("line", sort=False)
            series = [SweepSeries(str(path), {"searcher.name": line}, p) for line, p in groups]
            if not any(part.rows["value"].nunique() > 1 for part in series):
                continue
            level = {str(line): part for line, part in plain.groupby("line", sort=False)}
            protocol, *others = swept["protocol"]
            if all(other == protocol for other in others):
                same = full[full["protocol"].map(lambda found, wanted=protocol: found == wanted)]
                level |= {FULL_METHOD: same} if len(same) else {}
            place = f"{block.name}-{budget}"
            comparison = SearchComparison(place, block.model, budget, extractor, {}, {})
            yield f"scan-{path}-{place}", scan(comparison, series, level, style)


def effect_figure(
    effects: pd.DataFrame, headers: Mapping[str, str], log: bool, title: str, style: Style
) -> Picture:
    """Draw a row for every change of a level and a panel for every response.

    Panels that would be narrow stand in several rows.
    """
    effects = effects.assign(change=[change_of(row) for row in effects.to_dict("records")])
    changes, responses = list(effects["change"].unique()), list(effects["response"].unique())
    columns = max(1, min(len(responses), int((style.width - 1.2) / 1.1)))
    rows = -(-len(responses) // columns)
    height = 0.1 + rows * (0.45 + 0.2 * len(changes))
    with drawing.canvas(style, height, title) as picture:
        panels = drawing.panels(picture, len(responses), columns, sharey=True)
        for axes, response in zip(panels, responses, strict=True):
            _forest(axes, effects[effects["response"] == response], changes, log)
            axes.set_xlabel(f"{headers[response]}, {'ratio' if log else 'difference'}")
        handles = drawing.handles_of(*panels)
        drawing.explain(picture, handles, _interval_note(effects, headers))
    return picture


def interaction_figure(
    levels: Levels, values: np.ndarray, words: tuple[str, str], log: bool, style: Style
) -> Picture:
    """Draw a panel for every pair of factors; points are means over cells that share two levels.

    ``words`` are the header of the response and the title.
    """
    pairs = list(itertools.combinations(range(len(levels)), 2))
    columns = drawing.columns_of(style, len(pairs))
    scaled, (header, title) = np.log(values) if log else values, words
    with drawing.canvas(style, 0.2 + 1.75 * -(-len(pairs) // columns), title) as picture:
        panels = drawing.panels(picture, len(pairs), columns, sharey=True)
        for axes, pair in zip(panels, pairs, strict=True):
            means = scaled.mean(axis=tuple(set(range(values.ndim)) - set(pair)))
            _lines(axes, levels, pair, np.exp(means) if log else means)
        if log:
            drawing.log_axis(panels[0].yaxis, float(np.nanmin(values)), float(np.nanmax(values)))
        picture.supylabel(header, fontsize=7.5)
        kind, parallel = ("geometric ", "On this scale parallel") if log else ("", "Parallel")
        text = f"{kind}means over the other factors and seeds. {parallel} lines: no interaction."
        drawing.explain(picture, {}, text[0].upper() + text[1:])
    return picture


def _interval_note(effects: pd.DataFrame, headers: Mapping[str, str]) -> str:
    without = [headers[str(r)] for r, rows in effects.groupby("response") if rows.low.isna().all()]
    if not without:
        return "95 % intervals, which may be smaller than a marker."
    rest = "" if len(without) == effects.response.nunique() else "95 % intervals; "
    return f"{rest}no intervals of {' and '.join(without)}."


def _forest(axes: Axes, effects: pd.DataFrame, changes: Sequence[str], log: bool) -> None:
    axes.axvline(1 if log else 0, color=FULL_COLOUR, linewidth=0.8)
    known = effects[effects["effect"].notna()].rename(columns={"effect": "value"})
    kinds = {label: known[known["kind"] == kind] for kind, label in _KINDS.items()}
    drawing.forest(axes, changes, {name: rows.set_index("change") for name, rows in kinds.items()})
    if log:
        ends = effects[["effect", "low", "high"]].to_numpy()
        drawing.log_axis(axes.xaxis, min(1.0, np.nanmin(ends)), max(1.0, np.nanmax(ends)))


def _lines(axes: Axes, levels: Levels, pair: tuple[int, int], means: np.ndarray) -> None:
    """Draw ``means`` (levels of the first factor, levels of the second)."""
    (across, ticks), (lines, names) = (list(levels.items())[axis] for axis in pair)
    for number, name in enumerate(names):
        axes.plot(range(len(ticks)), means[:, number], label=name, **look_in_order(number))
    axes.set_xticks(range(len(ticks)), list(ticks))
    axes.set(xlim=(-0.3, len(ticks) - 0.7), xlabel=across)
    axes.legend(
        title=lines, title_fontsize=7, loc="lower left", bbox_to_anchor=(-0.05, 1),
        ncols=len(names) if sum(map(len, names)) < 20 else 1, handlelength=1.2, columnspacing=0.8,
        handletextpad=0.4, alignment="left",
    )  # fmt: skip
