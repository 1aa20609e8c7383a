"""Figure: Fréchet distance against cost, one line per method, with the Pareto front."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..records.columns import frechet_names, unit_of
from ..records.frame import CONDITION, rows_of
from ..records.schema import FULL_METHOD
from . import drawing
from .drawing import Picture
from .fitting import LINE, End, lay_out, name_ends, text_width
from .looks import CONTEXT, FULL_COLOUR, Look, Style, is_context, look_of_class
from .table import Block

COSTS = {
    "bitops": "BitOPs per forward, with overhead",
    "bitops_linear": "BitOPs per forward, linear layers",
    "bytes": "MB of the model",
}
_NAMES = {"bitops": "BitOPs", "bitops_linear": "BitOPs of linear layers", "bytes": "bytes"}
_LOG_FROM = 20.0  # ratio of largest to smallest FD from which the axis is logarithmic
_TOLD = 12  # methods in grey that are named
_LABEL: dict[str, Any] = {"textcoords": "offset points", "fontsize": drawing.SMALL}


def points(block: Block, cost: str = "bitops") -> pd.DataFrame:
    """Return method, budget, format, ``cost``, ``fd`` and ``half`` of what is done, by cost.

    The column ``cost`` has the values of the column of that name. ``half``: half-width of the
    jackknife interval, or with several seeds FD's deviation (ddof 1).
    """
    done = block.done
    groups = done[done["fd"].notna() & done[cost].gt(0)].groupby(CONDITION)
    found = groups.agg(
        cost=(cost, "mean"), fd=("fd", "mean"), std=("fd", "std"), ci=("fd_ci", "first")
    )
    found["half"] = found["std"].fillna(found["ci"]).fillna(0.0)
    found = found.astype({"cost": "float64"}).reset_index()
    return found.sort_values(["method", "cost"], ignore_index=True)


def costs_that_differ(block: Block) -> list[str]:
    """Return the two totals of BitOPs, or one where they are the same in all rows."""
    done = block.done[~block.done["is_full"]]
    differ = (done["bitops"] != done["bitops_linear"]).any()
    return ["bitops", "bitops_linear"] if differ else ["bitops"]


def pareto_front(costs: Iterable[float], values: Iterable[float]) -> np.ndarray:
    """Return which points no other one beats: bool (n,).

    A point is beaten by one that is not larger in either and smaller in one.
    """
    points = pd.DataFrame({"cost": list(costs), "value": list(values)})
    best = points.groupby("cost")["value"].min().cummin()  # the best value up to every cost
    below = best.astype("float64").shift(fill_value=np.inf)  # the best value at a smaller cost
    at = points["cost"]
    is_least = points["value"].to_numpy() == points.groupby("cost")["value"].transform("min")
    return np.asarray(is_least & (points["value"].to_numpy() < below.reindex(at).to_numpy()))


def tradeoff(block: Block, style: Style | None = None, cost: str = "bitops") -> Picture | None:
    """Draw FD against ``cost`` (log axis) with error bars; full precision is a line with its band.

    Where there are several classes of formats, a colour is a method, marker and line are a class.
    Rings and dotted steps mark the Pareto front. ``None`` if no quantized job of the block is done.
    The y axis is logarithmic if FD spans a factor of 20.
    """
    style = style or Style()
    every = points(block, cost)
    found, full = every[every["method"] != FULL_METHOD], every[every["method"] == FULL_METHOD]
    if found.empty:
        return None
    counts = ", ".join(map(str, sorted(block.done["n_images"].unique())))
    header = frechet_names(block.extractor)[0]
    budgets = ", ".join(found.sort_values("cost")["budget"].unique())
    title = f"{header} against {_NAMES[cost]}: {block.model} at {budgets}, N = {counts}"
    with drawing.canvas(style, min(2.6, 0.9 + 0.5 * style.width), title) as picture:
        axes = picture.add_subplot()
        _scale(axes, block, every, cost)
        lines = _Lines(axes, found, style)
        lines.draw()
        _draw_front(axes, found)
        _draw_full(axes, full)
        _label_budgets(axes, found)
        drawing.explain(picture, lines.legend(), _note(block, lines))
    return picture


class _Lines:
    """The lines of methods, and how they are told apart."""

    def __init__(self, axes: Axes, found: pd.DataFrame, style: Style) -> None:
        self.axes, self.found, self.style = axes, found, style
        # Best first: by the mean place among the methods of the same budget and format.
        places = found.groupby(["budget", "format"])["fd"].rank()
        order = places.groupby(found["method"]).mean().sort_values(kind="stable")
        self.looks = style.looks([str(name) for name in order.index])
        self.formats = sorted(found["format"].unique())
        self.handles: dict[str, Any] = {}
        self.ends: dict[str, End] = {}

    def draw(self) -> None:
        for (method, name), line in self.found.groupby(["method", "format"]):
            looks: Look = dict(self.looks[str(method)])
            label = self.style.label(str(method))
            if len(self.formats) > 1:
                label += f" {name}"
                looks |= look_of_class(self.formats.index(name))
            half = line["half"].where(line["half"] > 0)
            bar = self.axes.errorbar(
                line["cost"], line["fd"], yerr=half, elinewidth=0.8, capsize=1.5, **looks
            )
            if not is_context(looks):
                self.handles[label] = bar
                last = line.iloc[-1]
                bold = method == self.style.selection.highlight
                self.ends[label] = End(last["cost"], last["fd"], looks["color"], bold)

    def legend(self) -> dict[str, Any]:
        """Write names beside the lines, or return the handles of a legend where they do not fit."""
        if len(self.ends) == 1 and len(self.looks) == 1:
            return {}
        grey = [name for name, look in self.looks.items() if is_context(look)]
        handles: dict[str, Any] = {} if name_ends(self.axes, self.ends) else dict(self.handles)
        if grey:
            handles[f"{len(grey)} others"] = self.axes.plot([], [], color=CONTEXT, marker="o")[0]
        return handles


def _draw_front(axes: Axes, found: pd.DataFrame) -> None:
    """Draw the Pareto front of all points as dotted steps, and a ring around each of its points."""
    front = found[pareto_front(found["cost"], found["fd"])].sort_values("cost")
    dotted: dict[str, Any] = {"color": "#808080", "linewidth": 0.8, "linestyle": (0, (1, 1.5))}
    axes.plot(front["cost"], front["fd"], drawstyle="steps-post", zorder=1.5, **dotted)
    ring: dict[str, Any] = {"s": 42, "facecolors": "none", "edgecolors": "#202020"}
    axes.scatter(front["cost"], front["fd"], linewidths=0.6, zorder=4.5, gid="pareto", **ring)


def _draw_full(axes: Axes, full: pd.DataFrame) -> None:
    colour = FULL_COLOUR
    for value, half in full[["fd", "half"]].to_numpy():
        axes.axhspan(value - half, value + half, color=colour, alpha=0.15, lw=0)
        axes.axhline(value, color=colour, linewidth=0.9, linestyle="--")
        text = f"full precision {value:.2f}" + (f" ±{half:.2f}" if half else "")
        axes.annotate(
            text, (1, value - half), xycoords=("axes fraction", "data"), xytext=(-2, -1.5),
            ha="right", va="top", color=colour, **_LABEL,
        )  # fmt: skip


def _scale(axes: Axes, block: Block, every: pd.DataFrame, cost: str) -> None:
    """Set limits, scales and labels of both axes."""
    costs = every.loc[every["method"] != FULL_METHOD, "cost"]
    unit, prefix = (1e6, "") if cost == "bytes" else unit_of(costs)
    drawing.log_axis(axes.xaxis, costs.min(), costs.max(), unit, room=0.1)
    axes.set_xlabel(f"{prefix}{COSTS[cost]}")
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
    """Write every budget once, above its points and clear of the names before it."""
    lay_out(axes.figure)
    place = found.groupby("budget")["cost"].apply(lambda costs: np.exp(np.log(costs).mean()))
    highest = found.assign(top=found["fd"] + found["half"]).groupby("budget")["top"].max()
    rows = rows_of(pd.DataFrame({"cost": place, "top": highest}).sort_values("cost").reset_index())
    size, taken = drawing.SMALL, list[tuple[float, float]]()  # the right edge and top, in points
    for row in rows:
        x, y = axes.transData.transform((row["cost"], row["top"])) * 72 / axes.figure.dpi
        half = 36 * text_width(row["budget"], size) + 1.5
        up = 2.5
        while any(x - half < right and abs(y + up - low) < LINE * size for right, low in taken):
            up += 1.0
        taken.append((x + half, y + up))
        axes.annotate(row["budget"], (row["cost"], row["top"]), (0, up), ha="center", va="bottom",
                      zorder=5, **_LABEL)  # fmt: skip


def _note(block: Block, lines: _Lines) -> str:
    rows = block.frame[block.frame["status"] != "done"]
    lost = (rows["method"] + " " + rows["budget"] + " (" + rows["status"] + ")").unique()
    words = ["Ringed: the Pareto front."]
    if len(lost):
        words.append(f"Not shown: {', '.join(lost)}.")
    grey = [lines.style.label(n) for n, look in lines.looks.items() if is_context(look)]
    if grey:
        names = sorted(grey) if len(grey) <= _TOLD else [f"{len(grey)} other methods"]
        words.append(f"Grey: {', '.join(names)}.")
    return " ".join(words)
