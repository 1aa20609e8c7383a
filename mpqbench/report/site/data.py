"""What the page of a leaderboard holds: boards, columns, rows and details of records.

Everything here is a pure function of records and of the files beside them. Rows of one
*comparison* (board, model and metric fingerprint) may be ranked together; the page never ranks or
draws others together.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...core.errors import BenchError
from ...records.columns import LEADERBOARD, Column, adapt
from ...records.frame import rows_of
from ...records.left_out import current
from ...records.schema import JobRecord
from ...records.store import RecordStore
from ..table import Block, file_part, leaderboard

RECORDS = "records"
TOTALS = ("bitops", "bitops_linear", "bytes")  # costs that the page can show and draw
_HEADERS = {
    "bitops": "{unit}, everything",
    "bitops_linear": "{unit}, rounded layers",
    "bytes": "MB",
}
_DETAILS = ("recipe", "protocol", "provenance", "allocation")  # long, and alike in many records


@dataclass(frozen=True)
class Board:
    """The records of one folder: ``slug`` is a part of links, ``title`` is for people."""

    folder: Path
    slug: str
    title: str
    records: tuple[JobRecord, ...]
    left_out: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass
class Shared:
    """Long values that many rows share: each is stored once, and rows hold its position."""

    values: list[Any] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def place(self, value: Any) -> int:
        """Return the position of ``value``, which is added where no equal value is known."""
        key = json.dumps(value, sort_keys=False)
        if key not in self._known:
            self._known[key] = len(self.values)
            self.values.append(value)
        return self._known[key]


def read_boards(folders: Sequence[Path], out: Path | None = None) -> list[Board]:
    """Return a board for each folder with records in ``folders`` or below, sorted by slug.

    Records below ``out``, the folder of the site, are copies and are left out.
    Raises BenchError for a folder without records, and where two boards would have one slug.
    """
    boards: dict[str, Board] = {}
    for top in folders:
        found = sorted(path.parent for path in top.rglob(RECORDS) if path.is_dir())
        if out is not None:
            found = [each for each in found if not each.resolve().is_relative_to(out.resolve())]
        batches = [(each, *current(RecordStore(each))) for each in found]
        batches = [batch for batch in batches if batch[1]]
        if not batches:
            raise BenchError(f"{top} has no records: give the folder of a run, or one of such")
        for folder, records, left_out in batches:
            title = folder.relative_to(top).as_posix()
            title = top.resolve().name if title == "." else title
            slug = file_part(title).lower()
            if slug in boards:
                names = f"{boards[slug].folder} and {folder}"
                raise BenchError(f"{names} would both be called '{slug}' in a site: rename one")
            blocks = leaderboard(records).blocks
            boards[slug] = Board(folder, slug, title, tuple(records), tuple(left_out), blocks)
    return [boards[slug] for slug in sorted(boards)]


def site_data(boards: Iterable[Board]) -> dict[str, Any]:
    """Return what the page holds, as plain values for JSON.

    ``columns`` describe the cells of every row of ``rows``, ``comparisons`` say which rows may be
    ranked together, and ``shared`` holds the recipes, protocols and environments of records.
    """
    boards, shared = list(boards), Shared()
    parts = [(board, block) for board in boards for block in board.blocks]
    frame = pd.concat([block.frame for _, block in parts], ignore_index=True)
    columns = _columns(frame, {block.extractor for _, block in parts})
    comparisons: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for board, block in parts:
        at = len(comparisons)
        comparisons.append(_comparison(board, block))
        records = {record.job: record for record in board.records}
        for row in rows_of(block.frame):
            record = records[row["job"]]
            row["format"] = row["format"] or ("FP" if row["is_full"] else "unknown")
            rows.append(
                {
                    "at": at,
                    "cells": [_cell(column, row) for column in columns],
                    "details": _details(board, record, shared) | _samples(board, block),
                }
            )
    described = [
        {
            "name": column.name,
            "header": column.header,
            "role": column.role,
            "direction": column.direction,
            "scale": column.scale,
            "interval": column.interval,
            "view": column.view,
        }
        for column in columns
    ]
    return {
        "columns": described,
        "comparisons": comparisons,
        "rows": rows,
        "shared": shared.values,
        "totals": [name for name in TOTALS if any(c.name == name for c in columns)],
    }


def _columns(frame: pd.DataFrame, extractors: set[str | None]) -> list[Column]:
    """Return the columns of the page, with one unit for all rows.

    The Fréchet columns are called after the extractor only where all rows have the same.
    """
    known = extractors - {None}
    adapted = adapt(LEADERBOARD, frame, known.pop() if len(known) == 1 else None)
    bitops = next(column for column in adapted if column.name == "bitops")
    columns = []
    for column in adapted:
        if column.role == "interval":
            continue  # a cell holds its half-width itself
        if column.name in _HEADERS:
            header = _HEADERS[column.name].format(unit=bitops.header)
            scale = 1e6 if column.name == "bytes" else bitops.scale
            form = ".2f" if column.name == "bytes" else ".3f"
            column = replace(column, header=header, scale=scale, form=form, view="brief")
        if column.name == "format":
            column = replace(column, view="brief")
        columns.append(column)
    return columns


def _cell(column: Column, row: Mapping[str, Any]) -> Any:
    """Return the text of a cell, or its value and text where the value is a number."""
    value = row.get(column.name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return column.text(row)
    half = row.get(column.interval) if column.interval else None
    text = column.text(row)
    return [value, text] if half is None else [value, text, half]


def _comparison(board: Board, block: Block) -> dict[str, Any]:
    models = [each.model for each in board.blocks]
    several = models.count(block.model) > 1
    mark = f" ({block.metric_fingerprint or 'not measured'})" if several else ""
    return {
        "board": board.slug,
        "title": board.title,
        "name": f"{board.title}: {block.model}{mark}",
        "model": block.model,
        "notes": [*block.notes, *board.left_out],
    }


def samples_of(board: Board, block: Block) -> Path | None:
    """Return the first figure with images of the rows of ``block``, if the report drew any."""
    figures = sorted((board.folder / "figures").glob(f"samples-{block.name}*.png"))
    return figures[0] if figures else None


def _samples(board: Board, block: Block) -> dict[str, str | None]:
    path = samples_of(board, block)
    return {"samples": f"{board.slug}/figures/{path.name}" if path else None}


def _details(board: Board, record: JobRecord, shared: Shared) -> dict[str, Any]:
    """Return what the view of one record shows beyond its row."""
    store = RecordStore(board.folder)
    path = store.allocation_path(record.job)
    bits = store.read_allocation(record.job) if path.is_file() else None
    facts = record.model_dump(mode="json")
    provenance = facts["provenance"]
    times = [provenance.pop("started"), provenance.pop("finished")]
    return {
        **{name: shared.place(facts[name]) for name in _DETAILS},
        "groups": shared.place(list(bits)) if bits else None,
        "bits": shared.place(list(bits.values())) if bits else None,
        "costs": facts["costs"],
        "seconds": facts["seconds"],
        "times": times,
        "file": f"{board.slug}/{RECORDS}/{store.record_path(record.job).name}",
        "bits_file": f"{board.slug}/allocations/{path.name}" if bits else None,
    }
