"""A table as CSV, Markdown and terminal text. The same table gives the same bytes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ..core.files import write_atomic
from ..records.columns import printable
from ..records.frame import frame_csv
from ..records.selection import EVERYTHING, Selection
from .grid import Cell, Grid, Line, note_of
from .pivot import grids
from .table import Table

_WHAT = ("status", "reason")  # beside the keys and the selected columns of a CSV file


def write_texts(stem: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write every text into ``stem.KIND``; return the paths."""
    paths = [stem.parent / f"{stem.name}.{kind}" for kind in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomic(path, text.encode(errors="backslashreplace"))  # of names in no encoding
    return paths


def write_table(table: Table, stem: Path, title: str) -> list[Path]:
    """Write a table into ``stem.csv`` and ``stem.md``; return the paths."""
    return write_texts(stem, {"csv": to_csv(table), "md": to_markdown(table, title)})


def to_csv(table: Table, selection: Selection = EVERYTHING) -> str:
    """Return all rows; numbers are unscaled and have 10 significant digits.

    Without a selection of columns or a pivot these are all columns. Methods have their names, not
    labels. Ten digits are below the noise of any score and above the last-bit differences of
    platforms. Missing values are empty; truth values are ``true`` and ``false``.
    """
    if selection.pivot:
        parts = [_pivot_frame(grid) for grid in grids(table, selection)]
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    else:
        frame = table.frame
        if table.blocks:
            every = [selection.ordered(block.frame) for block in table.blocks]
            frame = pd.concat(every, ignore_index=True)[list(frame.columns)]
        if selection.columns:
            frame = frame[_csv_names(table, selection)]
    return frame_csv(frame.map(_plain, na_action="ignore"))


def _csv_names(table: Table, selection: Selection) -> list[str]:
    known = {column.name: column for column in table.columns}
    names = [column.name for column in table.columns if column.role == "key"] + [*_WHAT]
    for name in selection.columns:
        if name in known:
            names += [name, *filter(None, [known[name].interval])]
    return list(dict.fromkeys(names))


def _pivot_frame(grid: Grid) -> pd.DataFrame:
    """Return the values of a pivot: names of methods, and ``GROUP:COLUMN`` for what is across."""
    rows = []
    for line in grid.lines:
        values: dict[str, Any] = {}
        if len(grid.blocks) == 1:
            values["model"] = grid.blocks[0].model
        for head, cell in grid.pairs(line):
            values[head.name] = cell.row and cell.row.get(head.column.name)
            if (interval := head.column.interval) and head.group:
                values[f"{head.group}:{interval}"] = cell.row and cell.row.get(interval)
        rows.append(values)
    return pd.DataFrame(rows)


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def to_markdown(table: Table, title: str, selection: Selection = EVERYTHING) -> str:
    """Return one section per block: the columns that have values, then the notes."""
    parts = [f"# {escaped(title)}"]
    for grid in grids(table, selection, "brief", "full"):
        told = [note for line in grid.lines for note in line.notes]
        notes = [escaped(note) for note in [*told, *grid.notes]]
        parts += [f"## {escaped(grid.heading)}", _markdown_rows(grid), bullets(notes)]
    if table.notes:
        parts += ["## Left out", bullets([escaped(note) for note in table.notes])]
    return "\n\n".join(parts) + "\n"


def bullets(notes: Sequence[str]) -> str:
    """Return sentences as a Markdown list."""
    return "\n".join(f"- {note}" for note in notes)


def pipe_table(frame: pd.DataFrame, texts: Sequence[str] = ()) -> str:
    """Return a Markdown table of cells of text; columns but ``texts`` are aligned right."""
    rule = ["---" if name in texts else "---:" for name in frame.columns]
    return _pipes([list(frame.columns), rule, *frame.to_numpy().tolist()])


def _pipes(lines: Iterable[Sequence[Any]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def escaped(text: str) -> str:
    """Return ``text`` on one line of Markdown, in which no character of it is markup."""
    return re.sub(r"([\\|`*]|\](?=\())", r"\\\1", printable(text)).replace("<", "&lt;")


def print_table(table: Table, console: Console, selection: Selection = EVERYTHING) -> None:
    """Print the brief columns of every block, with reasons and notes below, in 120 columns."""
    for grid in grids(table, selection, "brief"):
        console.print(_rich_grid(grid))
        for line in grid.lines:
            for note in line.notes if grid.is_pivot else _remarks(line, selection):
                console.print(Text(printable(note)))
        for note in grid.notes:
            console.print(Text(printable(note), style="dim"))
        console.print()
    for note in table.notes:
        console.print(Text(f"Left out: {printable(note)}"))


def _remarks(line: Line, selection: Selection) -> list[str]:
    row = line.row
    if row["status"] == "done" and not (row.get("remark") or row.get("notes")):
        return []
    seed = "" if row.get("seed") is None else f" seed {row['seed']}"
    name = f"{selection.label(str(row['method']))} {row['budget']}{seed}"
    return [f"{name}: {note_of(row, whole=True)}"]


def shown(cell: Cell, is_pivot: bool) -> str:
    """Return the text of a cell; of a pivot also why there is none, as it has no other place."""
    if not (is_pivot and cell.row and cell.state):
        return cell.text
    return str(cell.row["status"]) if cell.state == "lost" else f"{cell.text} (over budget)"


def _markdown_rows(grid: Grid) -> str:
    heads = [escaped(f"{h.group} {h.column.header}".lstrip()) for h in grid.heads]
    rule = ["---:" if head.is_number else "---" for head in grid.heads]
    lines = [heads, rule]
    for line in grid.lines:
        cells = []
        for head, cell in grid.pairs(line):
            text, is_name = escaped(shown(cell, grid.is_pivot)), head.column.name == "method"
            is_bold = cell.place == 1 or (is_name and line.is_highlighted)
            cells.append(f"**{text}**" if is_bold else text)
        lines.append(cells)
    if not grid.is_pivot:
        lines[0], lines[1] = [*heads, "note"], [*rule, "---"]
        rest = zip(lines[2:], grid.lines, strict=True)
        lines[2:] = [[*cells, escaped(note_of(line.row, whole=True))] for cells, line in rest]
    return _pipes(lines)


def _rich_grid(grid: Grid) -> RichTable:
    table = RichTable(title=Text(printable(grid.heading)), box=SIMPLE_HEAD, pad_edge=False)
    for head in grid.heads:
        side: Any = "right" if head.is_number else "left"
        text = (
            f"{printable(head.group)}\n{head.column.header}" if head.group else head.column.header
        )
        wraps = not head.is_number or grid.is_pivot
        table.add_column(Text(text), justify=side, no_wrap=not wraps, overflow="fold")
    if not grid.is_pivot:
        table.add_column("note", overflow="fold")
    for line in grid.lines:
        cells = []
        for head, cell in grid.pairs(line):
            is_own = line.is_highlighted and head.column.name == "method"
            style = "bold" if cell.place == 1 or is_own else ""
            cells.append(Text(shown(cell, grid.is_pivot), style))
        note = [] if grid.is_pivot else [Text(printable(note_of(line.row, whole=False)))]
        table.add_row(*cells, *note)
    return table
