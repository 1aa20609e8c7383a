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

from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd
from pydantic import Field

from ..core.errors import BenchError
from ..core.settings import Frozen
from .page_data import Rival, grouped, read_frame
from .render import pipe_table

ABOUT = "about.md"
Row = dict[Any, Any]


class Source(Frozen):
    """Rows of a file or of records."""

    source: str = Field(alias="from")
    where: str | None = None
    against: Rival = None
    group: list[str] = Field([])
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
    labels: dict[str, str] = Field({})
    across: dict[str, list[Any]] = Field({})
    columns: dict[str, str | list[str]]

    def markdown(self, folder: Path) -> str:
        """Return the table. Raises BenchError for a row or a column that is not there."""
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.frame(folder).to_dict("records"):
            groups.setdefault(tuple(_text(row[name]) for name in self.rows), []).append(row)
        if missing := self.labels.keys() - {key[0] for key in groups}:
            raise BenchError(f"{folder / ABOUT}: no row called {', '.join(sorted(missing))}")
        keys = [key for label in self.labels for key in groups if key[0] == label] or list(groups)
        column, values = next(iter(self.across.items()), ("", [""]))
        cells = [(value, *item) for value in values for item in self.columns.items()]
        lines = []
        for first, *others in keys:
            texts = []
            for value, _, text in cells:
                rows = (r for r in groups[first, *others] if not column or r[column] == value)
                texts.append(_cell(text, next(rows, None)))
            lines.append([self.labels.get(first, first), *others, *texts])
        headings = [f"{value} {heading}".strip() for value, heading, _ in cells]
        return pipe_table(pd.DataFrame(lines, columns=[*self.rows, *headings]), self.rows)


class Quoted(Source):
    """A number in a sentence: the format of the one row that is left."""

    cell: str


class Headline(Frozen):
    """A sentence with numbers: ``text`` with a ``{name}`` for each of ``values``."""

    text: str
    values: dict[str, Quoted] = Field({})

    def sentence(self, folder: Path) -> str:
        """Return the sentence. Raises BenchError where a number is of no row, or of several."""
        found = {}
        for name, value in self.values.items():
            frame = value.frame(folder)
            if len(frame) != 1:
                raise BenchError(f"{folder / ABOUT}: '{name}' is of {len(frame)} rows instead of 1")
            found[name] = _cell(value.cell, frame.to_dict("records")[0])
        return self.text.format(**found)


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(texts: str | list[str], row: Row | None) -> str:
    """Return the first text whose values are known; else nothing, or why a job is not done."""
    if row is None:
        return ""
    for text in [texts] if isinstance(texts, str) else texts:
        names = [name for _, name, _, _ in Formatter().parse(text) if name]
        if unknown := [name for name in names if name not in row]:
            raise BenchError(f"a table has no column '{unknown[0]}'")
        if not any(pd.isna(row[name]) for name in names):
            return text.format(**row)
    return "" if row.get("status", "done") == "done" else str(row["status"])
