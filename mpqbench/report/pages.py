"""Pages of leaderboards: prose from a hand-written ``about.md``, numbers from records and tables.

Every folder with an ``about.md`` has a page, its ``README.md``. The file begins with a header in
YAML (``question`` and ``headline``); its fenced blocks ``table`` are replaced by tables
(see ``page_data``).
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import pandas as pd

from ..core.errors import BenchError
from ..core.settings import Frozen, validate
from ..core.yaml_text import parse_yaml
from ..records.board import (
    ABOUT,
    RECORDS,
    SUBMISSIONS,
    TEXTS,
    Submissions,
    boards_in,
    is_quoted,
)  # fmt: skip
from ..records.runs import read_runs
from .agreement import agreement_table
from .notes import filled
from .page_data import Headline, PageTable, measured, read_records
from .render import bullets, escaped, pipe_table
from .study_files import proxy_orders
from .table import leaderboard

PAGE = "README.md"
BLOCK = re.compile(r"```table\n(.*?)```", re.DOTALL)
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?\)")
KINDS = ("table", "headlines", "agreement")
MARKED = re.compile(r"(<!-- results: (\w+) ([^>]*?) -->\n).*?(<!-- end of results -->)", re.DOTALL)


class PageHeader(Frozen):
    """The beginning of ``about.md``."""

    question: str
    headline: Headline | None = None


@dataclass(frozen=True)
class About:
    """One ``about.md``, read."""

    folder: Path
    title: str
    header: PageHeader
    text: str
    tables: list[PageTable]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the file in ``folder``. Raises BenchError where it is not as it should be."""
        path = folder / ABOUT
        match = re.match(r"---\n(.*?)^---\n+# (.*?)\n(.*)", path.read_text("utf-8"), re.S | re.M)
        if match is None:
            raise BenchError(f"{path} does not begin with a header between two --- and a # title")
        texts = (match[1], *BLOCK.findall(match[3]))
        header, *blocks = (parse_yaml(text, str(path)) for text in texts)
        tables = [validate(PageTable, block, str(path)) for block in blocks]
        checked = validate(PageHeader, header, str(path))
        return cls(folder, match[2], checked, match[3].strip(), tables)

    @cached_property
    def headline(self) -> str:
        """The sentence that tells what was found, or nothing."""
        return self.header.headline.sentence(self.folder) if self.header.headline else ""

    def page(self) -> str:
        """Return the page, for the folder itself."""
        tables = iter(self.tables)
        text = BLOCK.sub(lambda _: next(tables).markdown(self.folder), self.text)
        page = filled("page", about=self, text=text, measured=how_measured(self.folder))
        return _linked(page, self.folder, self.folder)


def how_measured(folder: Path) -> str:
    """Return a list in Markdown: protocol, environments, contributors, and the files beside it."""
    lines: list[str] = []
    if any(path.is_dir() for path in folder.rglob(RECORDS)):
        lines += measured([record for batch in read_records(folder) for record in batch])
    given = Submissions.read(folder).jobs
    lines += [f"`{j}` is from {escaped(s.contributor)}, {s.date}." for j, s in given.items()]
    found = {
        path.name for kind in ("yaml", "csv", "md", "tex") for path in folder.glob(f"*.{kind}")
    }
    names = sorted({*found, *TEXTS} - {ABOUT, PAGE, SUBMISSIONS})
    return bullets([*lines, f"Files: {', '.join(f'[{name}]({name})' for name in names)}."])


def _linked(text: str, folder: Path, out: Path) -> str:
    """Return ``text`` with links relative to ``out``; those to an ``about.md`` lead to its page."""

    def replace(match: re.Match[str]) -> str:
        if ":" in match[2]:
            return match[0]
        path = (folder / match[2]).resolve()
        if path.name == ABOUT:
            path = path.with_name(PAGE)
        return f"{match[1]}{_relative(path, out)}{match[3] or ''})"

    return LINK.sub(replace, text)


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path.resolve(), folder.resolve()).replace(os.sep, "/")


def _agreement(folders: Sequence[Path]) -> str:
    """Return how two models agree on the order of methods, or of proxies where these are there."""
    runs = replace(read_runs(folders), folders=tuple(folders))
    rows = proxy_orders(runs) or agreement_table(leaderboard(runs.records))
    if not rows:
        shown = " and ".join(folder.name for folder in folders)
        raise BenchError(f"{shown} have no two models with methods in common")
    return pipe_table(pd.DataFrame(rows), ("order by", "at"))


def read_abouts(leaderboards: Path) -> dict[str, About]:
    """Return the pages of ``leaderboards`` by name. Raises BenchError as ``About.read``."""
    paths = sorted(leaderboards.glob(f"*/{ABOUT}"))
    return {path.parent.name: About.read(path.parent) for path in paths}


def index(leaderboards: Path) -> str:
    """Return the page with a line for each leaderboard, for that folder itself.

    Raises BenchError where there is none.
    """
    boards, abouts = boards_in(leaderboards), read_abouts(leaderboards)
    answers = {name: _linked(a.headline, a.folder, leaderboards) for name, a in abouts.items()}
    quoted = [board.name for board in boards if is_quoted(board)]
    measured = [board.name for board in boards if board.name not in quoted]
    return filled("index", measured=measured, abouts=abouts, answers=answers, quoted=quoted)


def fill(path: Path, leaderboards: Path) -> str:
    """Return the text of ``path`` with its marked blocks made anew.

    ``<!-- results: table NAME -->`` gets the first table of a page,
    ``<!-- results: headlines NAME NAME -->`` a line for each page with a link to it, and
    ``<!-- results: agreement NAME NAME -->`` Kendall's tau of two models that these leaderboards
    have, up to ``<!-- end of results -->``. Raises BenchError for a block or a page that is not
    known, and where there are no two models to compare.
    """
    abouts = read_abouts(leaderboards)

    def results(kind: str, name: str) -> str:
        about = abouts[name]
        if kind == "table":
            return about.tables[0].markdown(about.folder)
        return f"- {about.headline} ([{name}]({_relative(about.folder / PAGE, path.parent)}))"

    def replace(match: re.Match[str]) -> str:
        kind, names = match[2], match[3].split()
        if kind not in KINDS or not names or not abouts.keys() >= set(names):
            raise BenchError(f"{path}: no results called '{match[2]} {match[3]}'")
        if kind == "agreement":
            lines = _agreement([abouts[name].folder for name in names])
        else:
            lines = "\n".join(results(kind, name) for name in names)
        return f"{match[1]}{lines}\n{match[4]}"

    return MARKED.sub(replace, path.read_text(encoding="utf-8"))
