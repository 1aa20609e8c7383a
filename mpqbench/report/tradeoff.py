"""Figure: Fréchet distance against BitOPs, one line per method."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..records.columns import frechet_names, unit_of
from ..records.frame import CONDITION, rows_of
from ..records.schema import FULL_METHOD
from . import drawing
from .table import Block

_APART = 1.3  # ratio of BitOPs or FD of two points whose labels do not overlap
_LOG_FROM = 20.0  # ratio of largest to smallest FD from which the axis is logarithmic
_SMALL: dict[str, Any] = {"textcoords": "offset points", "fontsize": 6.5}


def points(block: Block) -> pd.DataFrame:
    """Return method, budget, format, ``bitops``, ``fd`` and ``half`` of what is done, by cost.

    ``half``: half-width of the jackknife interval, or with several seeds FD's deviation (ddof 1).
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

    Where there are several classes of formats, a colour is a method, marker and line are a class.
    Budgets are written beside the points of one method, jobs without a score below the axes.
    ``None`` if no quantized job of the block is done. The y axis is logarithmic if FD spans a
    factor of 20.
    """
    every = points(block)
    found, full = every[every["method"] != FULL_METHOD], every[every["method"] == FULL_METHOD]
    if found.empty:
        return None
    lost = block.frame[block.frame["status"] != "done"]
    names = (lost["method"] + " " + lost["budget"] + " (" + lost["status"] + ")").unique()
    methods = list(found["method"].unique())
    formats = list(found["format"].unique())
    counts = map(str, sorted(block.done["n_images"].unique()))
    only = f", {methods[0]}" if len(methods) == len(formats) == 1 else ""
    with drawing.canvas(drawing.COLUMN, 3.9) as figure:
        axes = figure.add_subplot(title=f"{block.model}{only}, N = {', '.join(counts)}")
        _draw(axes, found, full)
        _scale(axes, block, every)
        note = f"Not shown: {', '.join(names)}" if len(names) else ""
        drawing.explain(figure, {} if only else drawing.handles_of(axes), note)
    return figure


def _draw(axes: Axes, found: pd.DataFrame, full: pd.DataFrame) -> None:
    methods, formats = (sorted(found[name].unique()) for name in ("method", "format"))
    for (method, name), line in found.groupby(["method", "format"]):
        looks: dict[str, Any] = {"label": method, "elinewidth": 0.8, "zorder": 3}
        looks |= drawing.look(methods.index(method))
        if len(formats) > 1:
            looks |= {"label": f"{method} {name}", **drawing.look_of_class(formats.index(name))}
        half = line["half"].where(line["half"] > 0)
        axes.errorbar(line["bitops"], line["fd"], yerr=half, **looks)
    colour = drawing.FULL_COLOUR
    for value, half in full[["fd", "half"]].to_numpy():
        axes.axhspan(value - half, value + half, color=colour, alpha=0.15, lw=0)
        axes.axhline(value, color=colour, linewidth=0.9, linestyle="--")
        text = f"full precision {value:.2f}" + (f" ±{half:.2f}" if half else "")
        axes.annotate(
            text, (1, value - half), xycoords=("axes fraction", "data"), xytext=(-3, -2),
            ha="right", va="top", color=colour, **_SMALL,
        )  # fmt: skip
    _label_budgets(axes, found)


def _scale(axes: Axes, block: Block, every: pd.DataFrame) -> None:
    """Set limits, scales and labels of both axes."""
    bitops = every.loc[every["method"] != FULL_METHOD, "bitops"]
    unit, prefix = unit_of(bitops)
    drawing.log_axis(axes.xaxis, bitops.min(), bitops.max(), unit, room=0.1)
    axes.set_xlabel(f"{prefix}BitOPs per forward of one image")
    seeds = block.done["seed"].nunique()
    kind = f"mean ± std of {seeds} seeds" if seeds > 1 else "95 % interval"
    axes.set_ylabel(f"{frechet_names(block.extractor)[0]} ({kind})")
    top, feet = (every["fd"] + every["half"]).max(), every["fd"] - every["half"]
    if every["fd"].min() > 0 and every["fd"].max() / every["fd"].min() >= _LOG_FROM:
        low = feet.where(feet > 0, every["fd"] / 2).min()
        drawing.log_axis(axes.yaxis, low, top, room=0.12)
    else:
        room = 0.14 * (top - feet.min()) or 1.0
        axes.set_ylim(feet.min() - room, top + room)


def _label_budgets(axes: Axes, found: pd.DataFrame) -> None:
    """Write every budget beside one point: of the method with most budgets, then of highest FD."""
    size = found.groupby("method")["budget"].transform("size")
    ordered = found.assign(size=size).sort_values(["size", "fd"], ascending=False)
    last = 0.0, 0.0
    for row in rows_of(ordered.drop_duplicates("budget").sort_values("bitops")):
        place = row["bitops"], row["fd"]
        is_near = all(max(a, b) < _APART * min(a, b) for a, b in zip(place, last, strict=True))
        axes.annotate(row["budget"], place, (5, -9 if is_near else 3), zorder=5, **_SMALL)
        last = place
