"""How figures look and are saved: colours, axes, legends, notes, files."""

import io
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..core.files import write_atomic
from ..records.statistics import Spread

# Okabe and Ito, "Color Universal Design" (2008), without yellow (too light on white) and black
# (full precision): tells apart under every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":")
FULL_COLOUR = "#444444"
DPI = 300

COLUMN, PAGE = 5.5, 6.8  # inches: text width of a common paper style, and of a page
LOG_FROM = 4.0  # ratio of largest to smallest value from which an axis is logarithmic
KEPT, DROPPED = COLOURS[1], "#a8a8a8"
_PLAIN = ("--", ":", "-.", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

STYLE = Path(__file__).parent / "text" / "figures.mplstyle"


def look(number: int) -> dict[str, Any]:
    """Return colour, marker and line of the ``number``-th method; 42 differ in the first two."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number // len(COLOURS) % len(LINES)],
    }


def look_of_class(number: int) -> dict[str, Any]:
    """Return marker and line of the ``number``-th class of formats."""
    return {"marker": MARKERS[number % len(MARKERS)], "linestyle": LINES[number % len(LINES)]}


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """Provide a figure of ``width`` x ``height`` inches in the common style, outside pyplot."""
    with matplotlib.rc_context(fname=STYLE):
        figure = FigureCanvasAgg(Figure(figsize=(width, height), facecolor="white")).figure
        figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
        yield figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` (300 dpi) and ``stem.pdf``; the same figure gives the same bytes.

    A colon of the name, as in the budget W4A4:total, becomes a hyphen.
    """
    kinds = {
        "png": {"Software": None},
        "pdf": {"Creator": "mpqbench", "Producer": None, "CreationDate": None},
    }
    # A stem may hold dots: with_suffix would cut.
    name = stem.name.replace(":", "-")
    paths = [stem.parent / f"{name}.{kind}" for kind in kinds]
    for path, (kind, metadata) in zip(paths, kinds.items(), strict=True):
        buffer = io.BytesIO()
        with matplotlib.rc_context(fname=STYLE):
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        write_atomic(path, buffer.getvalue())
    return paths


def save_all(figures: Iterable[tuple[str, Figure]], folder: Path) -> list[Path]:
    """Save figures in ``folder`` under their names; return the paths."""
    return [path for name, figure in figures for path in save(figure, folder / name)]


def panels(figure: Figure, count: int, columns: int, **options: Any) -> list[Axes]:
    """Return ``count`` axes in rows of ``columns``; ``options`` as for ``Figure.subplots``."""
    every = figure.subplots(-(-count // columns), columns, squeeze=False, **options).ravel()
    for spare in every[count:]:
        spare.remove()
    return list(every[:count])


def log_x(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic if ``values`` are positive and span a factor of 4."""
    if values and min(values) > 0 and max(values) / min(values) >= LOG_FROM:
        axes.set_xscale("log")
        readable_ticks(axes.xaxis, max(values) / min(values))


def log_y(axes: Axes, values: Iterable[Any], ratio: float = LOG_FROM) -> None:
    """Make the y axis logarithmic if means are positive and span a factor of ``ratio``.

    ``values`` are (mean, low, high); intervals are cut off at a third of the smallest mean.
    """
    means, lows, highs = np.array([tuple(value)[:3] for value in values] or [(0.0,) * 3]).T
    if means.min() > 0 and means.max() / means.min() >= ratio:
        low, high, least = lows.min(), highs.max(), means.min()
        log_axis(axes.yaxis, max(low, least / 3), high)


def log_axis(axis: Axis, low: float, high: float, unit: float = 1.0, room: float = 0.06) -> None:
    """Make an axis logarithmic, from ``low`` to ``high``, with this share of it beyond each end."""
    room = max((high / low) ** room, 1 + room / 2)
    name = "x" if axis is axis.axes.xaxis else "y"
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": (low / room, high * room)})
    readable_ticks(axis, high / low, unit)


def readable_ticks(axis: Axis, ratio: float, unit: float = 1.0) -> None:
    """Label a logarithmic axis, whose ends have this ``ratio``, with round numbers of ``unit``."""
    subs = (1, 1.5, 2, 3, 4, 5, 6, 8) if ratio < 8 else (1, 2, 5) if ratio < 1000 else (1,)
    is_wide = ratio >= LOG_FROM  # otherwise the round numbers are those of a linear axis
    axis.set_major_locator(LogLocator(subs=subs, numticks=50) if is_wide else MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda at, _: number(float(f"{at / unit:.4g}"))))
    axis.set_minor_locator(NullLocator())


def number(value: float) -> str:
    """Return ``0.02``, ``500`` or ``2·10⁻⁵``."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    power = "10" + str(int(exponent)).translate(_RAISED)
    shown = f"{float(mantissa):g}"
    return power if shown == "1" else f"{shown}·{power}"


def error_bar(axes: Axes, x: float, value: Spread, **looks: Any) -> None:
    """Draw one marker with its interval, if it has one."""
    halves = [[value.mean - value.low], [value.high - value.mean]]
    yerr = halves if value.high > value.low else None
    axes.errorbar([x], [value.mean], yerr=yerr, elinewidth=0.8, zorder=4, **looks)


def forest(axes: Axes, names: Sequence[str], series: Mapping[str, pd.DataFrame]) -> None:
    """Draw ``value``, ``low`` and ``high`` of two ``series``, a row for each of ``names``."""
    for at, (label, rows) in enumerate(series.items()):
        axes.errorbar(
            rows["value"], [list(names).index(name) + 0.13 - 0.26 * at for name in rows.index],
            xerr=[rows["value"] - rows["low"], rows["high"] - rows["value"]], label=label,
            fmt="os"[at], color=COLOURS[at], mfc=(COLOURS[0], "white")[at], elinewidth=0.9,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), list(names))
    axes.set_ylim(len(names) - 0.5, -0.5)


def reference_lines(axes: Axes, values: Mapping[str, Spread | None]) -> dict[str, Any]:
    """Draw level lines at the means of ``values``, if known; return legend handles by label."""
    looks: dict[str, Any] = {"color": FULL_COLOUR, "linewidth": 0.9, "zorder": 2}
    return {
        label: axes.axhline(value.mean, linestyle=_PLAIN[at % len(_PLAIN)], **looks)
        for at, (label, value) in enumerate(values.items())
        if value is not None
    }


def handles_of(*every: Axes) -> dict[str, Any]:
    """Return the legend handles of axes by label."""
    pairs = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in every]
    return {label: handle for each in pairs for handle, label in each}


def explain(figure: Figure, handles: Mapping[str, Any], note: str = "") -> None:
    """Draw a legend above the panels, which makes the figure grow, and a note below them."""
    if handles:
        fit = int((figure.get_figwidth() - 0.2) / (0.55 + 0.055 * max(map(len, handles))))
        columns = max(1, min(fit, len(handles)))
        rows = -(-len(handles) // columns)
        figure.set_figheight(figure.get_figheight() + 0.17 * max(0, rows - 3))
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper left", ncols=columns,
            handlelength=2.4, columnspacing=1.2,
        )  # fmt: skip
    if note:
        wrapped = textwrap.fill(note, int(figure.get_figwidth() * 20))
        figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=6, color=FULL_COLOUR)


def heat_map(
    axes: Axes, cells: pd.DataFrame, norm: Normalize, texts: np.ndarray, size: float
) -> AxesImage:
    """Draw kinds of layers (rows) by blocks (columns) with ``texts`` in the cells; NaN is white."""
    colours = matplotlib.colormaps["cividis"](np.linspace(0.1, 1.0, 256))
    shades = ListedColormap(colours).with_extremes(bad="white")
    values = np.ma.masked_invalid(cells.to_numpy())
    image = axes.imshow(values, cmap=shades, norm=norm, aspect="auto", interpolation="nearest")
    is_dark = image.to_rgba(values)[..., :3] @ (0.299, 0.587, 0.114) < 0.5
    for (i, j), dark in np.ndenumerate(is_dark):
        if texts[i, j]:
            colour = "white" if dark else "black"
            axes.text(j, i, str(texts[i, j]), ha="center", va="center", fontsize=size, color=colour)
    blocks = [str(block) for block in cells.columns]
    every = 1 if len(blocks) <= 16 else 3
    axes.set_yticks(range(len(cells.index)), [str(kind) for kind in cells.index])
    axes.set_xticks(range(0, len(blocks), every), blocks[::every])
    axes.set_xlabel("block")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image
