"""Figure: Fréchet distance against BitOPs, one line per method."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection
from typing import TYPE_CHECKING

import pandas as pd

from ..records.columns import frechet_names, unit_of
from ..records.frame import CONDITION, rows_of
from ..records.schema import FULL_METHOD
from .drawing import FULL_COLOUR, grid, look, new_figure, readable_ticks, style
from .table import Block

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _PLOT_HEIGHT = 5.5, 2.9  # inches; text width of a common paper style
_APART = 1.3  # ratio of BitOPs or FD of two points whose labels do not overlap
_LOG_FROM = 20.0  # ratio of largest to smallest FD from which the axis is logarithmic


def points(block: Block) -> pd.DataFrame:
    """Return ``method``, ``budget``, ``bitops``, ``fd`` and ``half`` of what is done, by cost.

    ``half`` is the half-width of the error bar: with one seed that of the jackknife interval, with
    several the standard deviation of FD (ddof = 1), which is then a mean.
    """
    done = block.done
    groups = done[done["fd"].notna() & done["bitops"].gt(0)].groupby(CONDITION)
    found = groups.agg(
        bitops=("bitops", "mean"), fd=("fd", "mean"), std=("fd", "std"), ci=("fd_ci", "first")
    )
    found["half"] = found["std"].fillna(found["ci"]).fillna(0.0)
    found = found.astype({"bitops": "float64"}).reset_index()
    return found.sort_values(["method", "bitops"], ignore_index=True)


def tradeoff(block: Block) -> Figure | None:
    """Draw FD against BitOPs (log axis) with error bars; full precision is a line with its band.

    Budgets are written beside the points of one method, jobs without a score below the axes.
    ``None`` if no quantized job of the block is done. The y axis is logarithmic if FD spans a
    factor of 20.
    """
    every = points(block)
    found, full = every[every["method"] != FULL_METHOD], every[every["method"] == FULL_METHOD]
    if found.empty:
        return None
    methods = sorted(found["method"].unique())
    missing = textwrap.wrap(_missing(block), 110)
    columns = _legend_columns(methods)
    rows = math.ceil(len(methods) / columns) if len(methods) > 1 else 0
    top, bottom = 0.32 + 0.19 * rows, 0.48 + 0.14 * len(missing)
    height = top + _PLOT_HEIGHT + bottom
    left = 0.62 / _WIDTH
    with style():
        figure = new_figure(_WIDTH, height)
        axes = figure.add_axes(
            (left, bottom / height, (_WIDTH - 0.77) / _WIDTH, _PLOT_HEIGHT / height)
        )
        _draw(axes, found, full)
        _scale(axes, block, every)
        figure.text(left, 1 - 0.08 / height, _title(block, methods), va="top", fontsize=9)
        if rows:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns,
                frameon=False, borderaxespad=0.2, handlelength=2.6, columnspacing=1.2,
            )  # fmt: skip
        if missing:
            text = "\n".join(missing)
            figure.text(left, 0.05 / height, text, fontsize=6, color=FULL_COLOUR)
    return figure


def _missing(block: Block) -> str:
    lost = block.frame[block.frame["status"] != "done"]
    names = lost["method"] + " " + lost["budget"] + " (" + lost["status"] + ")"
    return f"Not shown: {', '.join(names.unique())}" if len(lost) else ""


def _legend_columns(labels: Collection[str]) -> int:
    """Return how many columns fit above the axes, at about 0.065 inch a letter."""
    fit = int((_WIDTH - 0.8) / (0.45 + 0.065 * max(map(len, labels))))
    return max(1, min(fit, len(labels)))


def _title(block: Block, methods: Collection[str]) -> str:
    counts = map(str, sorted(block.done["n_images"].unique()))
    only = f", {next(iter(methods))}" if len(methods) == 1 else ""
    return f"{block.model}{only}, N = {', '.join(counts)}"


def _draw(axes: Axes, found: pd.DataFrame, full: pd.DataFrame) -> None:
    for number, (method, line) in enumerate(found.groupby("method")):
        axes.errorbar(
            line["bitops"], line["fd"], yerr=line["half"].where(line["half"] > 0),
            label=method, markersize=4, linewidth=1.1, elinewidth=0.8, capsize=2, zorder=3,
            **look(number),
        )  # fmt: skip
    for value, half in full[["fd", "half"]].to_numpy():
        axes.axhspan(value - half, value + half, color=FULL_COLOUR, alpha=0.15, lw=0)
        axes.axhline(value, color=FULL_COLOUR, linewidth=0.9, linestyle="--")
        axes.annotate(
            f"full precision {value:.2f}" + (f" ±{half:.2f}" if half else ""),
            (1, value - half), xycoords=("axes fraction", "data"), xytext=(-3, -2),
            textcoords="offset points", ha="right", va="top", fontsize=6.5, color=FULL_COLOUR,
        )  # fmt: skip
    _label_budgets(axes, found)


def _scale(axes: Axes, block: Block, every: pd.DataFrame) -> None:
    """Set limits, scales and labels of both axes."""
    found = every[every["method"] != FULL_METHOD]
    unit, prefix = unit_of(found["bitops"])
    low, high = found["bitops"].min(), found["bitops"].max()
    margin = max((high / low) ** 0.08, 1.12)
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    readable_ticks(axes.xaxis, high / low * margin**2, unit)
    axes.set_xlabel(f"{prefix}BitOPs per forward of one image")
    seeds = block.done["seed"].nunique()
    kind = f"mean ± std of {seeds} seeds" if seeds > 1 else "95 % interval"
    axes.set_ylabel(f"{frechet_names(block.extractor)[0]} ({kind})")
    tops, feet = every["fd"] + every["half"], every["fd"] - every["half"]
    if every["fd"].min() > 0 and every["fd"].max() / every["fd"].min() >= _LOG_FROM:
        lowest = feet.where(feet > 0, every["fd"] / 2).min()
        room = (tops.max() / lowest) ** 0.12
        axes.set_yscale("log")
        axes.set_ylim(lowest / room, tops.max() * room)
        readable_ticks(axes.yaxis, tops.max() / lowest)
    else:
        room = 0.14 * (tops.max() - feet.min()) or 1.0
        axes.set_ylim(feet.min() - room, tops.max() + room)
    grid(axes)


def _label_budgets(axes: Axes, found: pd.DataFrame) -> None:
    """Write every budget beside one point: of the method with most budgets, then of highest FD."""
    size = found.groupby("method")["budget"].transform("size")
    ordered = found.assign(size=size).sort_values(["size", "fd"], ascending=False)
    last = 0.0, 0.0
    for row in rows_of(ordered.drop_duplicates("budget").sort_values("bitops")):
        place = row["bitops"], row["fd"]
        is_near = all(max(a, b) < _APART * min(a, b) for a, b in zip(place, last, strict=True))
        axes.annotate(
            row["budget"], place, xytext=(5, -9 if is_near else 3), textcoords="offset points",
            fontsize=6.5, zorder=5,
        )  # fmt: skip
        last = place
