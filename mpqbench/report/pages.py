"""Pages of results: prose from a hand-written ``about.md``, numbers from records and tables.

Every folder with an ``about.md`` becomes a page. The file begins with a header in YAML
(``question`` and ``headline``); its fenced blocks ``table`` are replaced by tables
(see ``page_tables``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from ..core.errors import BenchError
from .page_data import RECORDS, measured, read_records
from .page_tables import ABOUT, Headline, PageTable

INDEX = "README.md"
BLOCK = re.compile(r"```table\n(.*?)```", re.DOTALL)
LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?\)")
MARKED = re.compile(r"(<!-- results: (\w+) ([^>]*?) -->\n).*?(<!-- end of results -->)", re.DOTALL)


class PageHeader(BaseModel):
    """The beginning of ``about.md``."""

    model_config = ConfigDict(extra="forbid")

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
    def read(cls, folder: Path) -> About:
        """Read the file in ``folder``. Raises BenchError where it is not as it should be."""
        path = folder / ABOUT
        match = re.match(r"---\n(.*?)^---\n+# (.*?)\n(.*)", path.read_text(), re.S | re.M)
        if match is None:
            raise BenchError(f"{path} does not begin with a header between two --- and a # title")
        try:
            header = PageHeader.model_validate(yaml.safe_load(match[1]))
            blocks = BLOCK.findall(match[3])
            tables = [PageTable.model_validate(yaml.safe_load(block)) for block in blocks]
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
