"""Tables and numbers of a page of results, as its ``about.md`` asks for them:

```table
from: leaderboard.csv        # a CSV file of the folder, or `records`
where: budget == 'W4A4'      # rows to take, as for pandas.DataFrame.query
against: uniform             # with records: the rival of the columns `less` and `less_ci`
group: [method, budget]      # means over all other columns, seeds for instance
rows: [method]               # columns that name a row
labels: {rtn: nearest}       # names of the first of them, which select and order the rows
across: {budget: [W4A4]}     # a column that is spread over the columns of the table
columns: {FD: "{fd:.2f}"}    # heading: format of the cell, or a list of which the first fits
```
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ..core.errors import BenchError
from .page_data import grouped, read_frame

ABOUT = "about.md"
Row = dict[Any, Any]


class Source(BaseModel):
    """Rows of a file or of records."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    source: str = Field(alias="from")
    where: str | None = None
    against: str | dict[str, str] | None = None
    group: list[str] = []
    geometric: bool = False

    def frame(self, folder: Path) -> pd.DataFrame:
        """Return the rows. Raises BenchError where the folder lacks them."""
        frame = read_frame(folder, self.source, self.against)
        if self.where:
            frame = frame.query(self.where)
        return grouped(frame, self.group, self.geometric) if self.group else frame


class PageTable(Source):
    """A table of a page."""

    rows: list[str]
    labels: dict[str, str] = {}
    across: dict[str, list[Any]] = {}
    columns: dict[str, str | list[str]]

    def markdown(self, folder: Path) -> str:
        """Return the table. Raises BenchError for a row or a column that is not there."""
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.frame(folder).to_dict("records"):
            groups.setdefault(tuple(_text(row[name]) for name in self.rows), []).append(row)
        if self.labels:
            if missing := self.labels.keys() - {key[0] for key in groups}:
                raise BenchError(f"{folder / ABOUT}: no row called {', '.join(sorted(missing))}")
            order = {label: at for at, label in enumerate(self.labels)}
            chosen = sorted(
                (key for key in groups if key[0] in order), key=lambda key: order[key[0]]
            )
            groups = {key: groups[key] for key in chosen}
        headings, cells = self._columns()
        lines = [
            [*self.rows, *headings],
            ["---"] * len(self.rows) + ["---:"] * len(headings),
        ]
        for (first, *others), rows in groups.items():
            names = [self.labels.get(first, first), *others]
            lines.append([*names, *(cell(rows) for cell in cells)])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def _columns(self) -> tuple[list[str], list[Callable[[list[Row]], str]]]:
        if not self.across:
            cells = [_cell_of(text, None, None) for text in self.columns.values()]
            return list(self.columns), cells
        ((column, values),) = self.across.items()
        pairs = [(value, *item) for value in values for item in self.columns.items()]
        headings = [f"{value} {heading}".strip() for value, heading, _ in pairs]
        return headings, [_cell_of(text, column, value) for value, _, text in pairs]


class Quoted(Source):
    """A number in a sentence: the format of the one row that is left."""

    cell: str


class Headline(BaseModel):
    """A sentence with numbers: ``text`` with a ``{name}`` for each of ``values``."""

    model_config = ConfigDict(extra="forbid")

    text: str
    values: dict[str, Quoted] = {}

    def sentence(self, folder: Path) -> str:
        """Return the sentence. Raises BenchError where a number is of no row, or of several."""
        found = {}
        for name, value in self.values.items():
            frame = value.frame(folder)
            if len(frame) != 1:
                raise BenchError(f"{folder / ABOUT}: '{name}' is of {len(frame)} rows instead of 1")
            found[name] = _cell_of(value.cell, None, None)(frame.to_dict("records"))
        return self.text.format(**found)


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell_of(texts: str | list[str], column: str | None, value: Any) -> Callable[[list[Row]], str]:
    """Return the function from the rows of a line to the text of one cell.

    A cell without a value is empty, that of a job that is not done has its status.
    """
    formats = [texts] if isinstance(texts, str) else texts

    def cell(rows: list[Row]) -> str:
        row = next((row for row in rows if column is None or row[column] == value), None)
        if row is None:
            return ""
        for text in formats:
            names = [name for _, name, _, _ in Formatter().parse(text) if name]
            if unknown := [name for name in names if name not in row]:
                raise BenchError(f"a table has no column '{unknown[0]}'")
            if not any(pd.isna(row[name]) for name in names):
                return text.format(**row)
        return "" if row.get("status", "done") == "done" else str(row["status"])

    return cell
