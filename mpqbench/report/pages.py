"""Pages of results: prose from a hand-written ``about.md``, numbers from records and tables.

Every folder with an ``about.md`` becomes a page. The file begins with a header in YAML
(``question`` and ``headline``); its fenced blocks ``table`` are replaced by tables:

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

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import BenchError
from .page_data import RECORDS, grouped, measured, read_frame, read_records

ABOUT, INDEX = "about.md", "README.md"
BLOCK = re.compile(r"```table\n(.*?)```", re.DOTALL)
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?\)")
MARKED = re.compile(r"(<!-- results: (\w+) ([^>]*?) -->\n).*?(<!-- end of results -->)", re.DOTALL)


Row = dict[Any, Any]


class Source(BaseModel):
    """Rows of a file or of records, as the top of this file describes them."""

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


class Table(Source):
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


class Header(BaseModel):
    """The beginning of ``about.md``."""

    model_config = ConfigDict(extra="forbid")

    question: str
    headline: Headline | None = None


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


@dataclass(frozen=True)
class About:
    """One ``about.md``, read."""

    folder: Path
    title: str
    header: Header
    text: str
    tables: list[Table]

    @classmethod
    def read(cls, folder: Path) -> About:
        """Read the file in ``folder``. Raises BenchError where it is not as it should be."""
        path = folder / ABOUT
        match = re.match(r"---\n(.*?)^---\n+# (.*?)\n(.*)", path.read_text(), re.S | re.M)
        if match is None:
            raise BenchError(f"{path} does not begin with a header between two --- and a # title")
        try:
            header = Header.model_validate(yaml.safe_load(match[1]))
            blocks = BLOCK.findall(match[3])
            tables = [Table.model_validate(yaml.safe_load(block)) for block in blocks]
        except (yaml.YAMLError, ValidationError) as error:
            raise BenchError(f"{path}: {error}") from None
        return cls(folder, match[2], header, match[3].strip(), tables)

    @cached_property
    def headline(self) -> str:
        """The sentence that tells what was found, or nothing."""
        return self.header.headline.sentence(self.folder) if self.header.headline else ""

    def page(self, out: Path) -> str:
        """Return the page as it stands in the folder ``out``."""
        tables = iter(self.tables)
        body = BLOCK.sub(lambda _: next(tables).markdown(self.folder), self.text)
        lines = [
            f"<!-- Made by `mpqbench report --pages` from {self.folder.name}/{ABOUT}. -->",
            f"# {self.title}",
            f"**Question.** {self.header.question}",
        ]
        if self.headline:
            lines.append(f"**Answer.** {self.headline}")
        lines.append(body)
        lines.append(f"## How it was measured\n\n{self._measured()}")
        return _linked("\n\n".join(lines) + "\n", self.folder, out)

    def _measured(self) -> str:
        lines = []
        if any(path.is_dir() for path in self.folder.rglob(RECORDS)):
            lines += measured(read_records(self.folder))
        files = [
            path.relative_to(self.folder).as_posix()
            for pattern in ("*.yaml", "*.csv", "*.md")
            for path in sorted(self.folder.glob(pattern))
            if path.name != ABOUT
        ]
        lines.append(f"Files: {', '.join(f'[{name}]({name})' for name in files)}.")
        return "\n".join(f"- {line}" for line in lines)


def _linked(text: str, folder: Path, out: Path) -> str:
    """Return ``text`` with links relative to ``folder`` made relative to ``out``.

    A link to another folder's ``about.md`` becomes one to its page.
    """

    def replace(match: re.Match[str]) -> str:
        target, anchor = match[2], match[3] or ""
        if ":" in target:
            return match[0]
        path = (folder / target).resolve()
        if path.name == ABOUT:
            path = out.resolve() / f"{path.parent.name}.md"
        relative = os.path.relpath(path, out.resolve()).replace(os.sep, "/")
        return f"{match[1]}{relative}{anchor})"

    return LINK.sub(replace, text)


def read_abouts(leaderboards: Path) -> dict[str, About]:
    """Return what the folders of ``leaderboards`` say of themselves, by name.

    Raises BenchError where none has an ``about.md``.
    """
    folders = sorted(path.parent for path in leaderboards.glob(f"*/{ABOUT}"))
    if not folders:
        raise BenchError(f"no folder in {leaderboards} has an {ABOUT}: give the folder of folders")
    return {folder.name: About.read(folder) for folder in folders}


def make_pages(leaderboards: Path, out: Path) -> dict[Path, str]:
    """Return every page and the index of them, by path in ``out``."""
    abouts = read_abouts(leaderboards)
    pages = {out / f"{name}.md": about.page(out) for name, about in abouts.items()}
    lines = [
        f"<!-- Made by `mpqbench report --pages` from the files {ABOUT}. -->",
        "",
        "# Results",
        "",
        "Each page has a question, the command that answers it, tables made from committed",
        "records, and what follows.",
        "",
        "| page | question | answer |",
        "|---|---|---|",
    ]
    for name, about in abouts.items():
        headline = _linked(about.headline, about.folder, out)
        lines.append(f"| [{name}]({name}.md) | {about.header.question} | {headline} |")
    return {**pages, out / INDEX: "\n".join(lines) + "\n"}


def fill(path: Path, leaderboards: Path, pages: Path) -> str:
    """Return the text of ``path`` with its marked blocks made anew.

    ``<!-- results: table NAME -->`` gets the first table of a page, and
    ``<!-- results: headlines NAME NAME -->`` a line for each page with a link to it, up to
    ``<!-- end of results -->``. Raises BenchError for a block or a page that is not known.
    """
    abouts = read_abouts(leaderboards)
    makers: Mapping[str, Callable[[list[About]], Iterator[str]]] = {
        "table": lambda own: (about.tables[0].markdown(about.folder) for about in own),
        "headlines": lambda own: (
            f"- {about.headline} ([{about.folder.name}]({_page(about, pages, path)}))"
            for about in own
        ),
    }

    def replace(match: re.Match[str]) -> str:
        kind, names = match[2], match[3].split()
        if kind not in makers or not names or not abouts.keys() >= set(names):
            raise BenchError(f"{path}: no results called '{match[2]} {match[3]}'")
        lines = "\n".join(makers[kind]([abouts[name] for name in names]))
        return f"{match[1]}{lines}\n{match[4]}"

    return MARKED.sub(replace, path.read_text())


def _page(about: About, pages: Path, path: Path) -> str:
    target = pages.resolve() / f"{about.folder.name}.md"
    return os.path.relpath(target, path.resolve().parent).replace(os.sep, "/")
