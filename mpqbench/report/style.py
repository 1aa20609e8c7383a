"""How figures look and are saved: one place for colours, sizes and metadata."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito, "Color Universal Design" (2008), without yellow (too light on white) and black
# (full precision): tells apart under every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":")
FULL_COLOUR = "#444444"
DPI = 300

_RC = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.usetex": False,
    "text.parse_math": False,
    "pdf.fonttype": 42,  # TrueType: many publishers refuse Type 3 fonts
    "svg.hashsalt": "mpqbench",
    "figure.dpi": 100.0,
}


def style() -> AbstractContextManager[None]:
    """The settings of every figure, restored afterwards."""
    import matplotlib

    context: AbstractContextManager[None] = matplotlib.rc_context(_RC)
    return context


def look(number: int) -> dict[str, Any]:
    """Colour, marker and line of the ``number``-th method: 42 differ in the first two alone."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number // len(COLOURS) % len(LINES)],
    }


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches on the Agg canvas, outside of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Writes ``stem.png`` (300 dpi) and ``stem.pdf``; the same figure gives the same bytes."""
    paths = []
    kinds = {
        "png": {"Software": None},
        "pdf": {"Creator": "mpqbench", "Producer": None, "CreationDate": None},
    }
    for kind, metadata in kinds.items():
        buffer = io.BytesIO()
        with style():
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        path = stem.parent / f"{stem.name}.{kind}"  # a stem may hold dots: with_suffix would cut
        write_atomic(path, buffer.getvalue())
        paths.append(path)
    return paths[0], paths[1]
