"""How figures are made and saved: sizes, axes, legends, notes, files."""

import io
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
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..core.files import write_atomic
from ..records.statistics import Spread
from .fitting import LINE, fit, text_width, wrapped
from .looks import COLOURS, FULL_COLOUR, Style

DPI = 300
SMALL = 6.9  # points: the smallest text, 6.5 and more in LaTeX's own article (3.18 inches)
LOG_FROM = 4.0  # ratio of largest to smallest value from which an axis is logarithmic
KEPT, DROPPED = COLOURS[1], "#a8a8a8"
_PLAIN = ("--", ":", "-.", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NARROWEST = 1.55  # inches of a panel with its labels

STYLE = Path(__file__).parent / "text" / "figures.mplstyle"


class Picture(Figure):
    """A figure with the ``title`` and the ``note`` that a caption needs."""

    title = ""
    note = ""

    @property
    def caption(self) -> str:
        """Title and note."""
        return " ".join(part for part in (self.title and f"{self.title}.", self.note) if part)


@contextmanager
def canvas(style: Style, height: float, title: str) -> Iterator[Picture]:
    """Provide a figure of ``height`` inches as wide as ``style`` says, outside pyplot.

    The title is drawn only where ``style`` asks for titles, and so is the note of ``explain``.
    Labels that are longer than their axes are wrapped at the end, and crowded ticks thinned.
    """
    with matplotlib.rc_context(fname=STYLE):
        picture = Picture(figsize=(style.width, height), facecolor="white")
        FigureCanvasAgg(picture)
        picture.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03)
        picture.title = title
        yield picture
        if style.selection.titles:
            _draw_words(picture)
        fit(picture)


def _draw_words(picture: Picture) -> None:
    inches = picture.get_figwidth() - 0.1
    above, below = wrapped(picture.title, inches, 8.0), wrapped(picture.note, inches, SMALL)
    room = [_height(above, 8.0), _height(below, SMALL)]
    if picture.get_layout_engine() is None:
        _move_up(picture, *room)
    else:
        picture.set_figheight(picture.get_figheight() + sum(room))
    edge = 0.03 / picture.get_figheight()
    picture.suptitle(above, x=0.01, y=1 - edge, ha="left", va="top", fontsize=8.0)
    if below:
        picture.supxlabel(below, x=0.01, y=edge, ha="left", va="bottom", fontsize=SMALL)


def _height(text: str, size: float) -> float:
    return (text.count("\n") + 1) * size * LINE / 72 + 0.05 if text else 0.0


def _move_up(picture: Picture, above: float, below: float) -> None:
    """Make room above and below what was placed by hand."""
    old = picture.get_figheight()
    new = old + above + below
    picture.set_figheight(new)
    for axes in picture.axes:
        x, y, width, height = axes.get_position().bounds
        axes.set_position((x, (y * old + below) / new, width, height * old / new))
    for text in picture.texts:
        text.set_y((text.get_position()[1] * old + below) / new)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write ``stem.png`` (300 dpi) and ``stem.pdf``; the same figure gives the same bytes.

    Both have the caption in their metadata. A colon of the name, as in the budget W4A4:total,
    becomes a hyphen.
    """
    caption = figure.caption if isinstance(figure, Picture) else ""
    kinds: dict[str, dict[str, Any]] = {
        "png": {"Software": None} | ({"Description": caption} if caption else {}),
        "pdf": {"Creator": "mpqbench", "Producer": None, "CreationDate": None, "Subject": caption},
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


def columns_of(style: Style, count: int, narrowest: float = _NARROWEST) -> int:
    """Return how many of ``count`` panels stand side by side."""
    return max(1, min(count, int(style.width / narrowest)))


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
    axes.errorbar([x], [value.mean], yerr=yerr, elinewidth=0.8, **{"zorder": 4.0} | looks)


def forest(axes: Axes, names: Sequence[str], series: Mapping[str, pd.DataFrame]) -> None:
    """Draw ``value``, ``low`` and ``high`` of two ``series``, a row for each of ``names``."""
    for at, (label, rows) in enumerate(series.items()):
        axes.errorbar(
            rows["value"], [list(names).index(name) + 0.13 - 0.26 * at for name in rows.index],
            xerr=[rows["value"] - rows["low"], rows["high"] - rows["value"]], label=label,
            fmt="os"[at], color=COLOURS[at], mfc=(COLOURS[0], "white")[at], elinewidth=0.9,
            markersize=3.5,
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


def explain(figure: Picture, handles: Mapping[str, Any], note: str = "") -> None:
    """Draw a legend above the panels, which makes the figure grow; keep ``note`` for a caption."""
    figure.note = " ".join(filter(None, (figure.note, note)))
    if not handles:
        return
    size = matplotlib.rcParams["legend.fontsize"]
    inches = figure.get_figwidth() - 0.15
    room = 0.4  # of a handle, with its gap
    names = [wrapped(name, inches - room, size) for name in handles]
    widest = max(text_width(line, size) for name in names for line in name.split("\n"))
    columns = max(1, min(int(inches / (widest + room + 0.1)), len(names)))
    rows = -(-len(names) // columns) + sum(name.count("\n") for name in names)
    figure.set_figheight(figure.get_figheight() + 0.155 * rows)
    figure.legend(
        list(handles.values()), names, loc="outside upper left", ncols=columns, handlelength=2.0,
        columnspacing=1.0, handletextpad=0.6, borderpad=0.2, borderaxespad=0.1, labelspacing=0.35,
    )  # fmt: skip


def shades() -> Colormap:
    """Return the colours of heat maps."""
    colours = matplotlib.colormaps["cividis"](np.linspace(0.1, 1.0, 256))
    return ListedColormap(colours).with_extremes(bad="white")


def heat_map(
    axes: Axes, cells: pd.DataFrame, norm: Normalize, texts: np.ndarray | None = None
) -> AxesImage:
    """Draw kinds of layers (rows) by blocks (columns) with ``texts`` in the cells; NaN is white."""
    values = np.ma.masked_invalid(cells.to_numpy())
    image = axes.imshow(values, cmap=shades(), norm=norm, aspect="auto", interpolation="nearest")
    is_dark = image.to_rgba(values)[..., :3] @ (0.299, 0.587, 0.114) < 0.5
    for (i, j), dark in np.ndenumerate(is_dark):
        if texts is not None and texts[i, j]:
            colour = "white" if dark else "black"
            axes.text(
                j, i, str(texts[i, j]), ha="center", va="center_baseline", fontsize=SMALL,
                color=colour, in_layout=False,
            )  # fmt: skip
    blocks = [str(block) for block in cells.columns]
    axes.set_yticks(range(len(cells.index)), [str(kind) for kind in cells.index])
    axes.set_xticks(range(len(blocks)), blocks)
    axes.set_xlabel("block")
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def cells_hold(texts: np.ndarray, inches: float) -> bool:
    """Return whether cells of a row of ``inches`` have room for ``texts`` (rows, columns)."""
    widest = max((text_width(str(text), SMALL) for text in np.unique(texts)), default=0.0)
    return widest + 0.02 <= inches / texts.shape[1]
