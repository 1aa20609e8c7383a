"""All tables and figures of runs in a folder, with an article in two columns that shows them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import BenchError, unknown
from ..records.paper_file import PaperFile
from ..records.runs import Runs
from ..records.selection import WIDTHS, Selection
from .drawing import Picture, save
from .figures import FIGURES, draw
from .latex import to_latex
from .latex_text import escape
from .notes import filled
from .render import write_texts
from .search.runs import left_out
from .table import Table
from .write import main_table, paper_tables, tables_of_runs, title_of

MOST_ROWS = 45  # of a table on one page


@dataclass(frozen=True)
class Section:
    """The tables or the figures of one kind, as LaTeX."""

    parts: tuple[str, ...]

    @property
    def is_wide(self) -> bool:
        """Whether a float may be as wide as both columns, and so on a later page."""
        return any("\\input" in part or "figure*" in part for part in self.parts)


def write_paper(
    runs: Runs, selection: Selection, folder: Path, paper: PaperFile | None = None
) -> list[Path]:
    """Write ``tables/``, ``figures/`` and ``main.tex``, which shows them all; return the paths.

    Tables and figures are those that ``paper`` names, or all that the runs allow. A figure of
    ``paper`` has the name of its kind, or that with more behind a hyphen, as ``tradeoff-bytes``.
    Raises BenchError as ``Selection.of``, and for a name that is of no figure.
    """
    named = dict(paper.figures) if paper else {}
    for name in named:
        _kind_of(name)  # before anything is written
    texts = _tables(runs, selection, paper)
    paths, inputs = [], []
    for name, text in texts.items():
        paths += write_texts(folder / "tables" / name, {"tex": text})
        inputs.append(rf"\input{{tables/{name}}}")
    sections = [Section(tuple(inputs))] if inputs else []
    common = _leaderboard(runs, selection)
    for name in named or FIGURES:
        own = named.get(name, selection)
        table = common if own == selection else _leaderboard(runs, own)
        parts = []
        for stem, picture in _drawn(name, runs, own, table):
            # A dot or a space in the name of a file is more than some versions of LaTeX take.
            place = Path("figures") / re.sub(r"[^A-Za-z0-9/_+-]", "-", stem)
            paths += save(picture, folder / place)
            parts.append(_float(picture, place.as_posix()))
        if parts:
            sections.append(Section(tuple(parts)))
    if not sections:
        raise BenchError(f"{runs.name} allow no table and no figure")
    text = filled("main", title=escape(runs.name), about=_about(runs), sections=sections)
    return [*paths, *write_texts(folder / "main", {"tex": text})]


def _kind_of(name: str) -> str:
    """Return the longest name of a kind of figure with which ``name`` begins."""
    fitting = [kind for kind in FIGURES if name == kind or name.startswith(f"{kind}-")]
    if not fitting:
        raise unknown("figure", name, FIGURES)
    return max(fitting, key=len)


def _leaderboard(runs: Runs, selection: Selection) -> Table:
    return tables_of_runs(runs, selection)["leaderboard"] if runs.records else Table((), ())


def _tables(runs: Runs, selection: Selection, paper: PaperFile | None) -> Mapping[str, str]:
    """Return the LaTeX of every table by its name; a long one is a table for each budget."""
    if paper and paper.tables:
        return {name: texts["tex"] for name, texts in paper_tables(paper, runs).items()}
    if not runs.records:
        return {}
    tables = tables_of_runs(runs, selection)
    stem = main_table(tables, selection)
    table = tables[stem]
    if max(len(block.frame) for block in table.blocks) <= MOST_ROWS:
        return {stem: to_latex(table, title_of(stem, runs), selection, stem)}
    budgets = dict.fromkeys(str(b) for block in table.blocks for b in block.frame["budget"])
    found = {}
    for budget in [name for name in budgets if name != "FP"]:
        own = selection.model_copy(update={"budgets": (budget,)})
        part = tables_of_runs(runs, own)[stem]
        name = f"{stem}-{budget.replace(':', '-')}"
        if max(len(block.frame) for block in part.blocks) > MOST_ROWS:
            left_out(f"a table of more than {MOST_ROWS} rows at {budget}: select methods")
            continue
        found[name] = to_latex(part, f"{title_of(stem, runs)} at {budget}", own, name)
    return found


def _drawn(
    name: str, runs: Runs, selection: Selection, table: Table
) -> Iterator[tuple[str, Picture]]:
    """Yield the figures of one name, each with the stem of its file."""
    kind = _kind_of(name)
    if runs.records or FIGURES[kind].file:
        for stem, picture in draw(kind, table, runs, selection):
            yield (stem if name == kind else f"{name}/{stem}"), picture


def _float(picture: Picture, place: str) -> str:
    """Return a figure of LaTeX at the width for which it was drawn."""
    inches = picture.get_figwidth()
    is_wide = inches > WIDTHS["column"] + 0.01
    widths = {WIDTHS["column"]: r"\columnwidth", WIDTHS["text"]: r"\textwidth"}
    width = widths.get(inches, f"{inches:g}in")
    name = "figure*" if is_wide else "figure"
    return "\n".join([
        rf"\begin{{{name}}}[{'t' if is_wide else '!ht'}]", r"\centering",
        rf"\includegraphics[width={width}]{{{place}.pdf}}",
        rf"\caption{{{_breakable(picture.caption)}}}",
        rf"\label{{fig:{place.removeprefix('figures/')}}}", rf"\end{{{name}}}",
    ])  # fmt: skip


def _count(runs: Runs) -> str:
    counts = sorted({record.n_images for record in runs.records if record.n_images})
    return f"N = {', '.join(map(str, counts))} images." if counts else ""


def _about(runs: Runs) -> str:
    """Return what was measured, in sentences."""
    models = ", ".join(sorted({record.model for record in runs.records}))
    budgets = sorted({r.budget for r in runs.records if not r.is_full_precision})
    text = f"{len(runs.records)} records of {models} at {', '.join(budgets)}. {_count(runs)}"
    return _breakable(text)


def _breakable(text: str) -> str:
    """Return ``text`` for LaTeX, with places to break inside long names."""
    return re.sub(r"(?<=\w)(\.|\\_|/)(?=\w)", r"\1\\allowbreak{}", escape(text))
