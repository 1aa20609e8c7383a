"""What is shown of a table: heads, cells and notes, before they are Markdown, LaTeX or HTML."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Literal

from ..core.formats import OWN
from ..records.columns import Column, Row, printable
from ..records.schema import FULL_METHOD
from ..records.selection import Selection
from .table import Block

State = Literal["", "over", "lost"]  # of a row: over its budget, or without a result
Places = dict[tuple[Hashable, str], int]
RowPlaces = Mapping[Hashable, Mapping[str, int]]


@dataclass(frozen=True)
class Head:
    """A column of what is shown; ``group`` is a text over it and its neighbours."""

    column: Column
    group: str = ""

    @property
    def name(self) -> str:
        """The name in CSV files."""
        return f"{self.group}:{self.column.name}" if self.group else self.column.name

    @property
    def is_number(self) -> bool:
        """Whether cells are aligned right."""
        return bool(self.column.form) or self.column.name == "seed"


@dataclass(frozen=True)
class Cell:
    """A text, its place among the scores it competes with (1, 2 or 0), and what is wrong."""

    text: str = ""
    place: int = 0
    state: State = ""
    row: Row | None = None


@dataclass(frozen=True)
class Line:
    """One line of cells; ``part`` differs where a rule separates it from the line before."""

    cells: tuple[Cell, ...]
    part: str
    is_highlighted: bool = False
    notes: tuple[str, ...] = ()  # of a line of several rows

    @property
    def row(self) -> Row:
        """The first row of the table in this line."""
        return next(cell.row for cell in self.cells if cell.row is not None)


@dataclass(frozen=True)
class Grid:
    """Lines under heads, with a heading and the notes of their blocks."""

    blocks: tuple[Block, ...]
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    is_pivot: bool = False

    @cached_property
    def heading(self) -> str:
        """The models and what they are measured with."""
        return ", ".join(dict.fromkeys(heading(block) for block in self.blocks))

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The texts over the heads, each with the number of heads under it."""
        groups = groupby(self.heads, key=lambda head: head.group)
        return [(group, len(list(heads))) for group, heads in groups]

    @property
    def rules(self) -> list[bool]:
        """Whether a rule comes before each line: between parts, if one has several lines."""
        parts = [line.part for line in self.lines]
        several = len(set(parts)) < len(parts)
        full = [line.row["method"] == FULL_METHOD for line in self.lines]
        pairs = zip(parts, parts[1:], full, full[1:], strict=False)
        return [False, *((several and a != b) or was > is_ for a, b, was, is_ in pairs)][
            : len(parts)
        ]

    def pairs(self, line: Line) -> list[tuple[Head, Cell]]:
        """Return the cells of ``line``, each with its head."""
        return list(zip(self.heads, line.cells, strict=True))

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The notes of all blocks, each once, with the model where not all have it."""
        every = dict.fromkeys(note for block in self.blocks for note in block.notes)
        found = []
        for note in every:
            having = [block.model for block in self.blocks if note in block.notes]
            mark = "" if len(having) == len(self.blocks) else f"{', '.join(having)}: "
            found.append(mark + note)
        return tuple(found)


def chosen(block: Block, selection: Selection, views: Sequence[str] = ()) -> list[Column]:
    """Return the keys and the selected columns of ``block``, or those of ``views`` with values."""
    names = selection.columns
    if not names:
        columns = [column for column in block.columns if column.view in views]
        return [column for column in columns if any(map(column.text, block.rows))]
    keys = [c for c in block.columns if c.role == "key" and (c.view == "brief" or c.name in names)]
    known = {column.name: column for column in block.columns}
    return keys + [known[name] for name in names if name in known and known[name] not in keys]


def flat(blocks: Sequence[Block], columns: Sequence[Column], selection: Selection) -> Grid:
    """Return a line for each row of ``blocks``; places are those within its block."""
    lines = []
    for block in blocks:
        places = places_by_row(block)
        for at, row in enumerate(block.rows):
            cells = cells_of(row, columns, selection, places[at])
            is_highlighted = row["method"] == selection.highlight
            lines.append(Line(cells, str(row["budget"]), is_highlighted))
    return Grid(tuple(blocks), tuple(map(Head, columns)), tuple(lines))


def ranked(block: Block) -> Places:
    """Return the places, 1 and 2, of the scores by (row number, column).

    Scores compete within a budget, a class of formats and a seed. Full precision, rows over their
    budget, rows that are not paired with full precision and methods with formats of their own do
    not; equal values share a place, and where all are equal none has one.
    """
    frame = block.frame.reset_index(drop=True)
    able = frame["satisfied"].fillna(False).astype(bool) & (frame["status"] == "done")
    if "unpaired" in frame:
        able &= frame["unpaired"].eq("")
    if "format" in frame:
        able &= frame["format"].ne(OWN)
    rivals = frame[able & (frame["method"] != FULL_METHOD)]
    keys = [rivals[name] for name in ("budget", "format", "seed", "terms") if name in frame]
    places: Places = {}
    for column in block.columns:
        if column.role == "score":
            groups = rivals[column.name].astype("float64").groupby(keys)
            place = groups.rank(method="dense", ascending=column.direction == "lower")
            shown = place[(groups.transform("nunique") > 1) & (place <= 2)]
            places |= {(at, column.name): int(rank) for at, rank in shown.items()}
    return places


def places_by_row(block: Block) -> RowPlaces:
    """Return the places of ``ranked`` by column for each row number, also for one without any."""
    places: dict[Hashable, dict[str, int]] = defaultdict(dict)
    for (at, name), place in ranked(block).items():
        places[at][name] = place
    return places


def heading(block: Block) -> str:
    """Return the model of a block and the fingerprint of its metrics."""
    fingerprint = block.metric_fingerprint
    return f"{block.model} ({f'metric {fingerprint}' if fingerprint else 'not measured'})"


def note_of(row: Row, whole: bool) -> str:
    """Return why a row has no scores, or which scores its own are tied with; then its remarks.

    These are in short for a column of the terminal, or ``whole``.
    """
    remark, notes = (str(row.get(name) or "") for name in ("remark", "notes"))
    if row["status"] != "done":
        words = [f"{row['status']}: {row['reason']}" if whole else str(row["status"])]
    else:
        words = [] if row["satisfied"] in (True, None) else ["over budget"]
        words += str(row.get("ties") or "").split()
    if not whole:
        words += ["not paired"] if row.get("unpaired") else []
        return ", ".join([*words, "see below"] if notes else words)
    return "; ".join(text for text in (", ".join(words), remark, notes) if text)


def cells_of(
    row: Row, columns: Sequence[Column], selection: Selection, places: Mapping[str, int]
) -> tuple[Cell, ...]:
    """Return the cells of one row; the first that is no key says whether the row has a failing."""
    state: State = "over" if row.get("satisfied") is False else ""
    state = "lost" if row["status"] != "done" else state
    made: list[Cell] = []
    for column in columns:
        shown = column if selection.intervals else replace(column, interval=None)
        is_key, text = column.role == "key", shown.text(row)
        if column.name == "method":
            text = printable(selection.label(str(row["method"])))
        made.append(Cell(text, places.get(column.name, 0), "" if is_key else state, row))
        state = state if is_key else ""
    return tuple(made)
