"""What the figures of a search share: looks of methods, readable axes, legends and notes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..style import COLOURS, FULL_COLOUR, new_figure, style

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from .seeds import Spread

COLUMN, PAGE = 5.5, 6.8  # inches: text width of a common paper style, and of a page
LOG_FROM = 4.0  # ratio of largest to smallest value from which an axis is logarithmic
KEPT, DROPPED = COLOURS[1], "#a8a8a8"
_PLAIN = ("--", ":", "-.", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """An empty figure in the house style, whose parts make room for each other."""
    with style():
        figure = new_figure(width, height)
        figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
        yield figure


def grid(axes: Axes) -> None:
    """Light lines behind the data."""
    axes.grid(True, color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)


def log_x(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with readable numbers where positive ``values`` span a factor of 4."""
    if values and min(values) > 0 and max(values) / min(values) >= LOG_FROM:
        axes.set_xscale("log")
        readable_ticks(axes.xaxis, max(values) / min(values))


def log_y(axes: Axes, values: Sequence[Spread]) -> None:
    """The same for the y axis, whose limits hold means and intervals; an interval that reaches far
    below the smallest mean, or below zero, is cut off at a third of it."""
    if not values:
        return
    least, most = min(v.mean for v in values), max(v.mean for v in values)
    if least <= 0 or most / least < LOG_FROM:
        return
    low, high = max(min(v.low for v in values), least / 3), max(v.high for v in values)
    room = (high / low) ** 0.06
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    readable_ticks(axes.yaxis, high / low)


def readable_ticks(axis: Axis, ratio: float) -> None:
    """Round numbers on a logarithmic axis whose ends are ``ratio`` apart."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if ratio < 8 else (1, 2, 5) if ratio < 1000 else (1,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=50))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def number(value: float) -> str:
    """``0.02``, ``500`` or ``2·10⁻⁵``."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    power = "10" + str(int(exponent)).translate(_RAISED)
    shown = f"{float(mantissa):g}"
    return power if shown == "1" else f"{shown}·{power}"


def error_bar(axes: Axes, x: float, value: Spread, **looks: Any) -> None:
    """One marker with its interval."""
    has_interval = value.high > value.low
    halves = [[value.mean - value.low], [value.high - value.mean]] if has_interval else None
    axes.errorbar(
        [x], [value.mean], yerr=halves, markersize=4, elinewidth=0.8, capsize=2, zorder=4, **looks
    )


def reference_lines(axes: Axes, values: Mapping[str, Spread | None]) -> dict[str, Any]:
    """Level lines at the means of those values that there are; legend handles by their labels.

    A label has the same line in every panel that gives it the same place in ``values``.
    """
    return {
        label: axes.axhline(
            value.mean, color=FULL_COLOUR, linewidth=0.9, linestyle=_PLAIN[at % len(_PLAIN)],
            zorder=2,
        )
        for at, (label, value) in enumerate(values.items()) if value is not None
    }  # fmt: skip


def legend_above(figure: Figure, handles: Mapping[str, Any], width: float) -> None:
    """A legend over the panels, in as many columns as fit at about 0.055 inch a letter.

    The figure grows by the rows beyond the third, so that the panels keep their height.
    """
    fit = int((width - 0.2) / (0.55 + 0.055 * max(map(len, handles))))
    columns = max(1, min(fit, len(handles)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.17 * max(0, rows - 3))
    figure.legend(
        list(handles.values()), list(handles), loc="outside upper left", frameon=False,
        ncols=columns, handlelength=2.4, columnspacing=1.2,
    )  # fmt: skip


def note_below(figure: Figure, text: str, width: float) -> None:
    """Small text under the panels; nothing for an empty one."""
    if text:
        wrapped = textwrap.fill(text, int(width * 20))
        figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=6, color=FULL_COLOUR)


def cell_text(axes: Axes, values: Any, texts: Any, shade: Any, size: float) -> None:
    """Writes ``texts`` (rows x columns) into the cells of a heat map, dark on light or light on
    dark by ``shade(value)``, the cell's RGBA; empty cells stay empty."""
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if value == value:  # not NaN: there is such a group
                red, green, blue, _ = shade(value)
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
                axes.text(
                    j, i, texts[i][j], ha="center", va="center", fontsize=size,
                    color="white" if dark else "black",
                )  # fmt: skip


def heat_axes(axes: Axes, cells: pd.DataFrame) -> None:
    """Names of kinds (rows) and numbers of blocks (columns) at a heat map, which has no frame."""
    axes.set_yticks(range(len(cells.index)), [str(kind) for kind in cells.index])
    blocks = [str(block) for block in cells.columns]
    every = 1 if len(blocks) <= 16 else 3
    axes.set_xticks(range(0, len(blocks), every), blocks[::every])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def part_of(name: str, low: float, high: float) -> Colormap:
    """A colour map of matplotlib from ``low`` to ``high`` of its range."""
    import matplotlib
    import numpy as np
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps[name](np.linspace(low, high, 256)))
