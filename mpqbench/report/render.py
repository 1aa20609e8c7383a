"""A table as CSV, Markdown and terminal text. The same table gives the same bytes."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..records.schema import FULL_METHOD
from .columns import Column, Row, Value
from .table import Block, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

Cell = tuple[int, str]


def to_csv(table: Table) -> str:
    """All rows and all columns; numbers unscaled, with 10 significant digits, ``\\n`` line ends.

    Ten digits are below the noise of any score and above the last-bit differences of platforms.
    Missing values are empty, truth values ``true`` and ``false``.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    for row in table.rows:
        writer.writerow([_plain(row[column.name]) for column in table.columns])
    return buffer.getvalue()


def to_markdown(table: Table, title: str) -> str:
    """One section per block: a table of the columns that have values, then its notes."""
    lines = [f"# {title}", ""]
    for block in table.blocks:
        lines += [f"## {_heading(block)}", "", *_markdown_rows(block), ""]
        lines += [f"- {note}" for note in block.notes]
        lines.append("")
    return "\n".join(lines)


def print_table(table: Table, console: Console) -> None:
    """The brief columns of every block, reasons and notes below; fits 120 columns."""
    from rich.text import Text

    for block in table.blocks:
        console.print(_rich_block(block))
        for row in block.rows:
            if row["status"] != "done":
                console.print(Text(f"{_name(row)}: {_status(row, reason=True)}"))
        for note in block.notes:
            console.print(Text(note, style="dim"))
        console.print()


def ranked(block: Block) -> dict[Cell, int]:
    """(row number, column) of the best (1) and second best (2) scores of each budget and seed.

    Full precision and rows over their budget do not compete; equal values share a place, and
    where all are equal none has one.
    """
    rivals: dict[tuple[Value, Value], list[int]] = defaultdict(list)
    for i, row in enumerate(block.rows):
        if row["status"] == "done" and row["satisfied"] and row["method"] != FULL_METHOD:
            rivals[row["budget"], row.get("seed")].append(i)
    places: dict[Cell, int] = {}
    for column in block.columns:
        if column.role != "score":
            continue
        for group in rivals.values():
            numbers = _numbers(block, group, column.name)
            order = sorted(set(numbers.values()), reverse=column.direction == "higher")
            if len(order) > 1:
                for i, value in numbers.items():
                    if value in order[:2]:
                        places[i, column.name] = 1 + order.index(value)
    return places


def _numbers(block: Block, rows: list[int], name: str) -> Mapping[int, float]:
    values = ((i, block.rows[i][name]) for i in rows)
    return {i: value for i, value in values if isinstance(value, int | float)}


def _plain(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format(value, ".10g")
    return " ".join(value.split()) if isinstance(value, str) else str(value)


def _shown(block: Block, *views: str) -> list[Column]:
    """Columns of these views that have a value in some row."""
    return [
        column for column in block.columns
        if column.view in views and any(column.text(row) for row in block.rows)
    ]  # fmt: skip


def _heading(block: Block) -> str:
    fingerprint = block.metric_fingerprint
    return f"{block.model} ({f'metric {fingerprint}' if fingerprint else 'not measured'})"


def _name(row: Row) -> str:
    seed = "" if row.get("seed") is None else f" seed {row['seed']}"
    return f"{row['method']} {row['budget']}{seed}"


def _status(row: Row, reason: bool) -> str:
    """The note of a row: why it has no scores, or what its scores cannot be told apart from."""
    if row["status"] != "done":
        text = f"{row['status']}: {row['reason']}" if reason else str(row["status"])
        return " ".join(text.split())
    words = [] if row["satisfied"] in (True, None) else ["over budget"]
    return ", ".join([*words, *str(row.get("ties") or "").split()])


def _markdown_rows(block: Block) -> list[str]:
    columns = _shown(block, "brief", "full")
    places = ranked(block)
    lines = [
        _line([*(column.header for column in columns), "note"]),
        _line([*("---:" if _is_number(column) else "---" for column in columns), "---"]),
    ]
    for i, row in enumerate(block.rows):
        cells = [_escape(column.text(row)) for column in columns]
        for j, column in enumerate(columns):
            if places.get((i, column.name)) == 1:
                cells[j] = f"**{cells[j]}**"
        lines.append(_line([*cells, _escape(_status(row, reason=True))]))
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _is_number(column: Column) -> bool:
    return bool(column.form) or column.name == "seed"


def _rich_block(block: Block) -> RichTable:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    columns = _shown(block, "brief")
    places = ranked(block)
    table = RichTable(title=Text(_heading(block)), box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        number = _is_number(column)
        table.add_column(
            Text(column.header), justify="right" if number else "left", no_wrap=number,
            overflow="fold",
        )  # fmt: skip
    table.add_column("note", overflow="fold")
    for i, row in enumerate(block.rows):
        cells = [
            Text(column.text(row), style="bold" if places.get((i, column.name)) == 1 else "")
            for column in columns
        ]
        table.add_row(*cells, Text(_status(row, reason=False)))
    return table
