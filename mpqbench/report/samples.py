"""Figure: same-seed samples, full precision above every method and budget."""

from collections.abc import Callable, Sequence

import numpy as np

from ..core.errors import BenchError
from ..records.columns import Row
from ..records.frame import rows_of
from ..records.schema import FULL_METHOD
from . import drawing
from .drawing import Picture
from .fitting import text_width, wrapped
from .looks import Style
from .table import Block

LoadSamples = Callable[[str, int], np.ndarray]

IMAGES = 10  # of every job
_LABEL = 0.3  # of the width: the most that row labels take
_SMALLEST = 0.3  # inches of an image
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
    block: Block,
    rows: Sequence[Row],
    load_samples: LoadSamples,
    style: Style | None = None,
    texts: Sequence[str] = (),
) -> Picture:
    """Draw the first images of every row's job, labelled method, budget and FD.

    ``texts`` are the prompts of the first images, if any, and stand above the columns.
    ``load_samples(job, count)`` gives uint8 (count, height, width, 1 or 3). Column i is image i
    of every job: the same noise and class. There are at most 10, as many as are at least 0.3
    inches wide and as the job of fewest images has. Raises BenchError if the shapes differ.
    """
    style = style or Style()
    width = style.width
    labels = [_label(block, row, style, _LABEL * width) for row in rows]
    lines = [line for label in labels for line in label.split("\n")]
    side = max(text_width(line, drawing.SMALL) for line in lines) + 0.1
    room = width - side - 0.02
    fewest = min(int(row["n_images"] or 0) for row in rows)
    columns = max(1, min(IMAGES, fewest, int(room / _SMALLEST)))
    pixels = grid_pixels([load_samples(str(row["job"]), columns) for row in rows])
    above = [wrapped(text, room / columns - 0.04, drawing.SMALL) for text in texts[:columns]]
    top = max((text.count("\n") + 1 for text in above), default=0) * drawing.SMALL * 1.1 / 72
    # A row has room for its label, however small its images are.
    needed = max(label.count("\n") + 1 for label in labels) * drawing.SMALL * 1.25 / 72
    height = max(room * pixels.shape[0] / pixels.shape[1], needed * len(rows))
    total = height + top + 0.04
    title = f"Images of the same noise: {block.model}, seed {rows[0]['seed']}"
    with drawing.canvas(style, total, title) as picture:
        picture.set_layout_engine("none")
        place = (side / width, 0.02 / total, room / width, height / total)
        axes = picture.add_axes(place, frameon=False)
        axes.imshow(pixels, interpolation="none", aspect="equal")
        axes.set_axis_off()
        for i, label in enumerate(labels):
            middle = 0.02 + top + height * (i + 0.5) / len(rows)
            picture.text(
                (side - 0.06) / width, 1 - middle / total, label,
                ha="right", va="center", fontsize=drawing.SMALL, linespacing=1.1,
            )  # fmt: skip
        for i, text in enumerate(above):
            picture.text(
                (side + room * (i + 0.5) / columns) / width, (height + 0.03) / total, text,
                ha="center", va="bottom", fontsize=drawing.SMALL, linespacing=1.0,
            )  # fmt: skip
        picture.note = "Every row has the same noise and class in each column."
    return picture


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


def _label(block: Block, row: Row, style: Style, inches: float) -> str:
    fd = block.column("fd")
    facts = [] if row["method"] == FULL_METHOD else [str(row["budget"])]
    if block.column("format").view == "brief" and row["format"]:
        facts.append(str(row["format"]))
    if row["fd"] is not None:
        facts.append(f"{fd.header} {format(float(row['fd']), fd.form)}")
    parts = (style.label(str(row["method"])), "   ".join(facts))
    return "\n".join(wrapped(part, inches, drawing.SMALL) for part in parts if part)
