"""Text that fits: wrapped labels, thinned ticks, and names of lines beside their ends."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

LINE = 1.28  # heights of letters from one line of text to the next
_MOST = 0.36  # of the width of a figure that names of lines may take


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Return the width of one line of ``text`` in inches at ``size`` points."""
    if not text.strip():
        return 0.0
    path = TextPath((0, 0), text, prop=FontProperties(family="DejaVu Sans", size=size))
    return float(path.get_extents().width) / 72 + 0.01


def wrapped(text: str, inches: float, size: float) -> str:
    """Return ``text`` in lines of at most ``inches``.

    A word that is longer is broken behind a hyphen, or else anywhere.
    """
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= inches:
            lines[-1] = longer
            continue
        lines.append("")
        for part in re.split("(?<=-)", word):
            if lines[-1] and text_width(lines[-1] + part, size) > inches:
                lines.append("")
            for letter in part:
                if lines[-1] and text_width(lines[-1] + letter, size) > inches:
                    lines.append("")
                lines[-1] += letter
    return "\n".join(lines)


def fit(figure: Figure) -> None:
    """Wrap the labels of axes that are longer than they are, and leave out crowded ticks.

    The axes stay where they are from then on.
    """
    every = list(figure.axes)
    lay_out(figure)
    whole = figure.get_figwidth()
    for axes in every:
        box = axes.get_window_extent()
        wide, high = box.width / figure.dpi, box.height / figure.dpi
        # The only axes of a row may have a label under its ticks, too.
        alone = sum(abs(other.get_position().y0 - axes.get_position().y0) < 0.01
                    for other in every) == 1  # fmt: skip
        _wrap(axes.xaxis.label, min(whole - 0.1, wide * (1.25 if alone else 1.0)))
        _wrap(axes.yaxis.label, high * 1.05)
        _wrap(axes.title, wide * (1.2 if alone else 1.0))
        _wrap(axes._left_title, whole if alone else wide)  # type: ignore[attr-defined]
    lay_out(figure)
    for axes in every:
        _thin(axes.xaxis)
        _thin(axes.yaxis)
    figure.set_layout_engine(None)  # otherwise every file is laid out anew


def lay_out(figure: Any) -> None:
    """Place the axes of ``figure``, and no more: drawing it takes much longer."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def _wrap(text: Any, inches: float) -> None:
    shown = text.get_text()
    if shown:
        lines = [wrapped(line, inches, text.get_fontsize()) for line in shown.split("\n")]
        text.set_text("\n".join(lines))


def _thin(axis: Axis) -> None:
    """Leave out every second label of an axis until none covers the next."""
    side = 0 if axis.axis_name == "x" else 1  # type: ignore[attr-defined]
    low, high = sorted(axis.get_view_interval())
    kept = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_text()]
    if not kept or not kept[0].label1.get_visible():
        return
    places = [tick.get_loc() for tick in kept]
    names = [tick.label1.get_text() for tick in kept]
    ends = [np.array(tick.label1.get_window_extent())[:, side] for tick in kept]
    label = kept[0].label1
    is_level = side == 0 and label.get_rotation() == 0
    gap = 0.4 * float(label.get_fontsize()) * axis.axes.figure.dpi / 72 if is_level else 0.0
    step = 1
    while step < len(kept):
        part = sorted(map(tuple, ends[::step]))
        if all(after[0] - before[1] >= gap for before, after in pairwise(part)):
            break
        step += 1
    if step > 1:
        axis.set_ticks(places[::step], labels=names[::step])


@dataclass(frozen=True)
class End:
    """The end of a line in the units of its axes, and the colour of its name."""

    x: float
    y: float
    colour: str
    bold: bool = False


def name_ends(axes: Axes, ends: Mapping[str, End], size: float = 7.0) -> bool:
    """Write the name of every line to the right of the axes, at the height of its end.

    Names that would overlap are moved apart, and each has a thin line to its end. Nothing is
    written where they take more than the height of the axes or a third of the figure; the return
    value says whether it was. Limits and scales of the axes must have been set.
    """
    figure: Any = axes.figure
    if not ends:
        return False
    lay_out(figure)
    box = axes.get_window_extent()
    points = box.height * 72 / figure.dpi
    widest = max(text_width(name, size) for name in ends)
    if (len(ends) * size * LINE > points) or widest > _MOST * figure.get_figwidth():
        return False
    to_axes = axes.transData + axes.transAxes.inverted()
    places = {name: tuple(to_axes.transform((end.x, end.y))) for name, end in ends.items()}
    order = sorted(ends, key=lambda name: places[name][1])
    heights = apart([places[name][1] for name in order], size * LINE / points)
    for name, height in zip(order, heights, strict=True):
        end = ends[name]
        axes.annotate(
            name, places[name], xycoords="axes fraction", xytext=(1.045, height), va="center",
            color=_darker(end.colour), fontsize=size, annotation_clip=False, zorder=5,
            fontweight="bold" if end.bold else "normal",
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.5, "shrinkA": 1.0,
                        "shrinkB": 2.5, "relpos": (0, 0.5)},
        )  # fmt: skip
    return True


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Return heights in [0, 1] in the order of ``wanted``, which ascends, at least ``gap`` apart.

    They are those with the least sum of squared moves: neighbours that are too near become one
    crowd around their mean (pool adjacent violators), which then stays within the axes.
    """
    crowds: list[tuple[float, int]] = []  # the mean of the moved places, and how many they are
    for at, value in enumerate(wanted):
        mean, size = value - at * gap, 1
        while crowds and crowds[-1][0] > mean:
            other, more = crowds.pop()
            mean, size = (other * more + mean * size) / (more + size), more + size
        crowds.append((mean, size))
    starts = [mean for mean, size in crowds for _ in range(size)]
    highest = 1.0 - gap / 2 - (len(wanted) - 1) * gap
    return [min(max(s, gap / 2), highest) + at * gap for at, s in enumerate(starts)]


def _darker(colour: str) -> Any:
    """Return ``colour`` so that letters of it can be read on white."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    factor = min(1.0, 0.48 / light) if light else 1.0
    return red * factor, green * factor, blue * factor
