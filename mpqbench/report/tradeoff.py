"""Figure: Fréchet distance against BitOPs, one line per method."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ..records.schema import FULL_METHOD
from .columns import Row, frechet_names, unit_of
from .labels import Anchor, Placer
from .style import FULL_COLOUR, look, new_figure, style
from .table import Block

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _PLOT_HEIGHT = 5.5, 2.9  # inches; text width of a common paper style
_LOG_FROM = 20.0  # ratio of largest to smallest FD from which a linear axis hides the small ones


@dataclass(frozen=True)
class Point:
    """One method at one budget: BitOPs per forward, FD, and the half-width of its error bar."""

    budget: str
    bitops: float
    value: float
    half: float


def points(block: Block) -> dict[str, list[Point]]:
    """Points per method in order of cost. One seed: FD and its jackknife interval; several: mean
    and standard deviation (ddof = 1)."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in block.rows:
        if row["status"] == "done" and row["fd"] is not None and row["bitops"]:
            groups[str(row["method"]), str(row["budget"])].append(row)
    result: dict[str, list[Point]] = defaultdict(list)
    for (method, budget), rows in groups.items():
        result[method].append(_point(budget, rows))
    return {method: sorted(found, key=lambda p: p.bitops) for method, found in result.items()}


def tradeoff(block: Block) -> Figure | None:
    """FD against BitOPs (log axis) with error bars; full precision as a line with its band.

    Budgets are written at the points; jobs without a score are named below. ``None`` where no
    quantized job of the block is done. The y axis is logarithmic where FD spans a factor of 20.
    """
    found = points(block)
    full = found.pop(FULL_METHOD, [])
    if not found:
        return None
    missing = textwrap.wrap(_missing(block), 110)
    wide = _legend_columns(found)
    legend_rows = math.ceil(len(found) / wide) if len(found) > 1 else 0
    top = 0.32 + 0.19 * legend_rows
    bottom = 0.48 + 0.14 * len(missing)
    height = top + _PLOT_HEIGHT + bottom
    with style():
        figure = new_figure(_WIDTH, height)
        axes = figure.add_axes(
            (0.62 / _WIDTH, bottom / height, (_WIDTH - 0.77) / _WIDTH, _PLOT_HEIGHT / height)
        )
        _scale(axes, block, found, full)
        _draw(axes, found, full)
        figure.text(0.62 / _WIDTH, 1 - 0.08 / height, _title(block, found), va="top", fontsize=9)
        if legend_rows:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0, 1.0), ncols=wide,
                frameon=False, borderaxespad=0.2, handlelength=2.6, columnspacing=1.2,
            )  # fmt: skip
        if missing:
            figure.text(
                0.62 / _WIDTH, 0.05 / height, "\n".join(missing), fontsize=6, color=FULL_COLOUR
            )
    return figure


def _point(budget: str, rows: Sequence[Row]) -> Point:
    values = [float(row["fd"] or 0) for row in rows]
    half = statistics.stdev(values) if len(values) > 1 else float(rows[0]["fd_ci"] or 0)
    cost = statistics.fmean(float(row["bitops"] or 0) for row in rows)
    return Point(budget, cost, statistics.fmean(values), half)


def _missing(block: Block) -> str:
    lost = [
        f"{row['method']} {row['budget']} ({row['status']})"
        for row in block.rows
        if row["status"] != "done"
    ]
    return f"Not shown: {', '.join(dict.fromkeys(lost))}" if lost else ""


def _legend_columns(methods: Collection[str]) -> int:
    """As many as fit above the axes, at about 0.065 inch a letter."""
    longest = max(map(len, methods))
    fit = int((_WIDTH - 0.8) / (0.45 + 0.065 * longest))
    return max(1, min(fit, len(methods)))


def _title(block: Block, methods: Collection[str]) -> str:
    counts = sorted({str(row["n_images"]) for row in block.rows if row["status"] == "done"})
    only = f", {next(iter(methods))}" if len(methods) == 1 else ""
    return f"{block.model}{only}, N = {', '.join(counts)}"


def _scale(axes: Axes, block: Block, found: dict[str, list[Point]], full: Sequence[Point]) -> None:
    """Final limits, scales and labels: text is placed in pixels after this."""
    every = [point for line in found.values() for point in line]
    unit, prefix = unit_of(point.bitops for point in every)
    low, high = min(p.bitops for p in every), max(p.bitops for p in every)
    margin = max((high / low) ** 0.08, 1.12)
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    _readable_ticks(axes.xaxis, unit, high / low * margin**2)
    axes.set_xlabel(f"{prefix}BitOPs per forward of one image")
    seeds = {row["seed"] for row in block.rows if row["status"] == "done"}
    kind = f"mean ± std of {len(seeds)} seeds" if len(seeds) > 1 else "95 % interval"
    axes.set_ylabel(f"{frechet_names(block.extractor)[0]} ({kind})")
    everything = [*every, *full]
    tops = [p.value + p.half for p in everything]
    feet = [p.value - p.half for p in everything]
    values = [p.value for p in everything]
    if min(values) > 0 and max(values) / min(values) >= _LOG_FROM:
        axes.set_yscale("log")
        lowest = min(
            foot if foot > 0 else p.value / 2 for foot, p in zip(feet, everything, strict=True)
        )
        room = (max(tops) / lowest) ** 0.12
        axes.set_ylim(lowest / room, max(tops) * room)
        _readable_ticks(axes.yaxis, 1.0, max(tops) / lowest)
    else:
        room = 0.14 * (max(tops) - min(feet)) or 1.0
        axes.set_ylim(min(feet) - room, max(tops) + room)
    axes.grid(True, color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)


def _readable_ticks(axis: object, unit: float, ratio: float) -> None:
    """Plain numbers at round places of a logarithmic axis instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if ratio < 8 else (1, 2, 5) if ratio < 300 else (1,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=50))  # type: ignore[attr-defined]
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / unit:g}"))  # type: ignore[attr-defined]
    axis.set_minor_locator(NullLocator())  # type: ignore[attr-defined]
    axis.set_minor_formatter(NullFormatter())  # type: ignore[attr-defined]


def _draw(axes: Axes, found: dict[str, list[Point]], full: Sequence[Point]) -> None:
    placer = Placer(axes)
    for i, (method, line) in enumerate(sorted(found.items())):
        axes.errorbar(
            [p.bitops for p in line], [p.value for p in line],
            yerr=[p.half or math.nan for p in line],
            markersize=4, linewidth=1.1, elinewidth=0.8, capsize=2, label=method, zorder=3,
            **look(i),
        )  # fmt: skip
        placer.block_points((p.bitops, p.value) for p in line)
        for p in line:
            placer.block_line(
                (p.bitops, _inside(axes, p.value - p.half)), (p.bitops, p.value + p.half)
            )
        for p, q in pairwise(line):
            placer.block_line((p.bitops, p.value), (q.bitops, q.value))
    left, right = axes.get_xlim()
    for p in full:
        axes.axhspan(p.value - p.half, p.value + p.half, color=FULL_COLOUR, alpha=0.15, lw=0)
        axes.axhline(p.value, color=FULL_COLOUR, linewidth=0.9, linestyle="--")
        placer.block_line((left, p.value), (right, p.value))
    _budget_labels(placer, [p for line in found.values() for p in line])
    for p in full:
        places = (right, -3, "right"), (left, 3, "left"), ((left * right) ** 0.5, 0, "center")
        anchors = [
            Anchor(x, y, dx, dy, ha, va)
            for x, dx, ha in places
            for y, dy, va in ((p.value - p.half, -2, "top"), (p.value + p.half, 2, "bottom"))
        ]
        text = f"full precision {p.value:.2f}" + (f" ±{p.half:.2f}" if p.half else "")
        placer.place(text, anchors, fontsize=6.5, color=FULL_COLOUR)


def _inside(axes: Axes, y: float) -> float:
    """``y``, kept above the foot of the axes: a logarithmic one has no place for 0."""
    return float(max(y, axes.get_ylim()[0]))


def _budget_labels(placer: Placer, every: Iterable[Point]) -> None:
    """One label per budget, near the points of all methods that share it."""
    budgets: dict[str, list[Point]] = defaultdict(list)
    for point in every:
        budgets[point.budget].append(point)
    for budget, group in sorted(budgets.items()):
        highest = max(group, key=lambda p: p.value + p.half)
        lowest = min(group, key=lambda p: p.value - p.half)
        foot = _inside(placer.axes, lowest.value - lowest.half)
        anchors = [Anchor(highest.bitops, highest.value + highest.half, 0, 4, "center", "bottom")]
        anchors.append(Anchor(lowest.bitops, foot, 0, -4, "center", "top"))
        for p in sorted(group, key=lambda p: -p.value):
            anchors += [
                Anchor(p.bitops, p.value, dx, dy, ha, va)
                for dx, ha in ((5, "left"), (-5, "right"))
                for dy, va in ((0, "center"), (6, "bottom"), (-6, "top"))
            ]
        for distance in (12, 20, 28):
            anchors.append(
                Anchor(
                    highest.bitops, highest.value + highest.half, 0, distance, "center", "bottom"
                )
            )
            anchors.append(Anchor(lowest.bitops, foot, 0, -distance, "center", "top"))
        placer.place(budget, anchors, fontsize=6.5)
