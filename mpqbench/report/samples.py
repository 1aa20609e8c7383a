"""Figure: same-seed samples, full precision above every method and budget."""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..core.errors import BenchError
from ..records.columns import Row
from ..records.frame import rows_of
from ..records.schema import FULL_METHOD
from . import drawing
from .table import Block

LoadSamples = Callable[[str, int], np.ndarray]

IMAGES = 10  # of every job
_LABEL = 1.5  # inches: the room for row labels
_GAP = 0.06  # space between images, in image sides
_ROWS = 12  # quantized rows that fit on a page


def sample_rows(block: Block, kept: Callable[[Row], bool]) -> list[list[Row]]:
    """Return the rows of each page: full precision, then at most 12 others of the first seed.

    Only jobs that are done and whose images were ``kept``.
    """
    rows = [row for row in rows_of(block.done) if kept(row)]
    first = min((row["seed"] for row in rows), default=0)
    rows = [row for row in rows if row["seed"] == first]
    full, others = ([row for row in rows if row["is_full"] == wanted] for wanted in (True, False))
    return [[*full, *others[i : i + _ROWS]] for i in range(0, len(others), _ROWS)]


def sample_grid(
    block: Block, rows: Sequence[Row], load_samples: LoadSamples, columns: int = IMAGES
) -> Figure:
    """Draw the first ``columns`` images of every row's job, labelled method, budget and FD.

    ``load_samples(job, count)`` gives uint8 (count, height, width, 1 or 3). Column i is image i
    of every job: the same noise and class; jobs of fewer images give fewer columns. Raises
    BenchError if the shapes differ.
    """
    columns = min(columns, *(int(row["n_images"] or 0) for row in rows))
    pixels = grid_pixels([load_samples(str(row["job"]), columns) for row in rows])
    width = drawing.PAGE
    room = width - _LABEL - 0.05
    height = room * pixels.shape[0] / pixels.shape[1]
    total = height + 0.1
    with drawing.canvas(width, total) as figure:
        figure.set_layout_engine("none")
        place = (_LABEL / width, 0.05 / total, room / width, height / total)
        axes = figure.add_axes(place, frameon=False)
        axes.imshow(pixels, interpolation="none", aspect="auto")
        axes.set_axis_off()
        pitch = pixels.shape[0] / len(rows)
        for i, row in enumerate(rows):
            axes.annotate(
                _label(block, row), (0, (i + 0.5) * pitch), xytext=(-4, 0),
                textcoords="offset points", ha="right", va="center", fontsize=6.5,
                annotation_clip=False,
            )  # fmt: skip
    return figure


def grid_pixels(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return one RGB picture of rows of images on white, uint8 (height, width, 3).

    ``images``: per row uint8 (columns, h, w, 1 or 3), all of one shape but for the channels. The
    gap between images is ``gap_of(w)`` pixels. Raises BenchError for anything else.
    """
    if len({part.shape[:3] for part in images}) != 1 or any(p.dtype != np.uint8 for p in images):
        shapes = ", ".join(f"{part.dtype} {part.shape}" for part in images)
        raise BenchError(f"grid rows must be alike, uint8 (columns, h, w, 1 or 3), not {shapes}")
    every = np.stack([np.broadcast_to(part, (*part.shape[:3], 3)) for part in images])
    gap = gap_of(every.shape[3])
    beside = ((0, 0), (0, 0), (gap // 2, gap - gap // 2), (0, gap), (0, 0))
    padded = np.pad(every, beside, constant_values=255)
    rows, columns, height, width, _ = padded.shape
    canvas = padded.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    return canvas[:, :-gap]


def gap_of(width: int) -> int:
    """Return the pixels between images of ``width`` pixels."""
    return max(1, round(_GAP * width))


def _label(block: Block, row: Row) -> str:
    fd = block.column("fd")
    facts = [] if row["method"] == FULL_METHOD else [str(row["budget"])]
    if block.column("format").view == "brief" and row["format"]:
        facts.append(str(row["format"]))
    if row["fd"] is not None:
        facts.append(f"{fd.header} {format(float(row['fd']), fd.form)}")
    return "\n".join([*textwrap.wrap(str(row["method"]), 26), "   ".join(facts)])
