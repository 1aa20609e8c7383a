"""A table as CSV, Markdown, LaTeX and terminal text. The same table gives the same bytes.

LaTeX is in the form of a paper: booktabs rules, best in bold, second underlined. It needs the
packages ``booktabs`` and, for tick marks, ``amssymb``.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ..core.files import write_atomic
from ..records.columns import Column, Row, printable
from ..records.frame import frame_csv
from ..records.schema import FULL_METHOD
from .table import Block, Table

Cell = tuple[Hashable, str]


def write_texts(stem: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write every text into ``stem.KIND``; return the paths."""
    paths = [stem.parent / f"{stem.name}.{kind}" for kind in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomic(path, text.encode(errors="backslashreplace"))  # of names in no encoding
    return paths


def write_table(table: Table, stem: Path, title: str) -> list[Path]:
    """Write a table into ``stem.csv`` and ``stem.md``; return the paths."""
    return write_texts(stem, {"csv": to_csv(table), "md": to_markdown(table, title)})


def to_csv(table: Table) -> str:
    """Return all rows and columns; numbers are unscaled and have 10 significant digits.

    Ten digits are below the noise of any score and above the last-bit differences of platforms.
    Missing values are empty; truth values are ``true`` and ``false``.
    """
    return frame_csv(table.frame.map(_plain, na_action="ignore"))


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def to_markdown(table: Table, title: str) -> str:
    """Return one section per block: the columns that have values, then the notes."""
    parts = [f"# {title}"]
    for block in table.blocks:
        notes = [escaped(note) for note in block.notes]
        parts += [f"## {escaped(_heading(block))}", _markdown_rows(block), bullets(notes)]
    if table.notes:
        parts += ["## Left out", bullets([escaped(note) for note in table.notes])]
    return "\n\n".join(parts) + "\n"


def bullets(notes: Sequence[str]) -> str:
    """Return sentences as a Markdown list."""
    return "\n".join(f"- {note}" for note in notes)


def pipe_table(frame: pd.DataFrame, texts: Sequence[str] = ()) -> str:
    """Return a Markdown table of cells of text; columns but ``texts`` are aligned right."""
    rule = ["---" if name in texts else "---:" for name in frame.columns]
    lines = [list(frame.columns), rule, *frame.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def escaped(text: str) -> str:
    """Return ``text`` on one line of Markdown, in which no character of it is markup."""
    return re.sub(r"([\\|`*]|\](?=\())", r"\\\1", printable(text)).replace("<", "&lt;")


def print_table(table: Table, console: Console) -> None:
    """Print the brief columns of every block, with reasons and notes below, in 120 columns."""
    for block in table.blocks:
        console.print(_rich_block(block))
        for row in block.rows:
            if row["status"] != "done" or row.get("remark") or row.get("notes"):
                seed = "" if row.get("seed") is None else f" seed {row['seed']}"
                name = f"{row['method']} {row['budget']}{seed}"
                console.print(Text(printable(f"{name}: {_note(row, whole=True)}")))
        for note in block.notes:
            console.print(Text(printable(note), style="dim"))
        console.print()
    for note in table.notes:
        console.print(Text(f"Left out: {printable(note)}"))


def ranked(block: Block) -> dict[Cell, int]:
    """Return the places, 1 and 2, of the scores by (row number, column).

    Scores compete within a budget and a seed. Full precision, rows over their budget and rows that
    are not paired with full precision do not; equal values share a place, and where all are equal
    none has one.
    """
    frame = block.frame.reset_index(drop=True)
    able = frame["satisfied"].fillna(False).astype(bool) & (frame["status"] == "done")
    if "unpaired" in frame:
        able &= frame["unpaired"].eq("")
    rivals = frame[able & (frame["method"] != FULL_METHOD)]
    keys = [rivals[name] for name in ("budget", "seed", "terms") if name in frame]
    places: dict[Cell, int] = {}
    for column in block.columns:
        if column.role == "score":
            groups = rivals[column.name].astype("float64").groupby(keys)
            place = groups.rank(method="dense", ascending=column.direction == "lower")
            shown = place[(groups.transform("nunique") > 1) & (place <= 2)]
            places |= {(at, column.name): int(rank) for at, rank in shown.items()}
    return places


def _shown(block: Block, *views: str) -> list[Column]:
    """Return the columns of these views that have a value in some row."""
    columns = [column for column in block.columns if column.view in views]
    return [column for column in columns if any(map(column.text, block.rows))]


def _heading(block: Block) -> str:
    fingerprint = block.metric_fingerprint
    return f"{block.model} ({f'metric {fingerprint}' if fingerprint else 'not measured'})"


def _note(row: Row, whole: bool) -> str:
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


def _markdown_rows(block: Block) -> str:
    rows, places = block.rows, ranked(block)
    columns = _shown(block, "brief", "full")
    cells: dict[str, list[str]] = {}
    for column in columns:
        texts = enumerate(escaped(column.text(row)) for row in rows)
        best = [f"**{text}**" if places.get((i, column.name)) == 1 else text for i, text in texts]
        cells[column.header] = best
    cells["note"] = [escaped(_note(row, whole=True)) for row in rows]
    left = [column.header for column in columns if not _is_number(column)]
    return pipe_table(pd.DataFrame(cells), [*left, "note"])


def _is_number(column: Column) -> bool:
    return bool(column.form) or column.name == "seed"


def _rich_block(block: Block) -> RichTable:
    places, columns = ranked(block), _shown(block, "brief")
    table = RichTable(title=Text(printable(_heading(block))), box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_number = _is_number(column)
        side: Any = "right" if is_number else "left"
        table.add_column(Text(column.header), justify=side, no_wrap=is_number, overflow="fold")
    table.add_column("note", overflow="fold")
    for i, row in enumerate(block.rows):
        styles = ["bold" if places.get((i, column.name)) == 1 else "" for column in columns]
        cells = [Text(c.text(row), style) for c, style in zip(columns, styles, strict=True)]
        table.add_row(*cells, Text(printable(_note(row, whole=False))))
    return table


NOTHING = "--"
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
_SPECIAL = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "\u00d7": r"$\times$", "·": r"$\cdot$", "Δ": r"$\Delta$", "≈": r"$\approx$",
    "τ": r"$\tau$", "→": r"$\to$",
})  # fmt: skip
_DAGGER = r"$^\dagger$"
_SHOWN = ("fd", "sfd", "is", "output_mse", "bitops", "bytes")
_ARROWS = {"lower": r" $\downarrow$", "higher": r" $\uparrow$"}
_PLACES = {1: r"\textbf", 2: r"\underline"}


def escape(text: str) -> str:
    """Return ``text`` so that LaTeX prints every character as it stands."""
    digits = str.maketrans(_RAISED, "0123456789-")
    plain = printable(text).translate(_SPECIAL)
    return re.sub(f"[{_RAISED}]+", lambda raised: f"$^{{{raised[0].translate(digits)}}}$", plain)


def latex_table(table: Table, caption: str, ticks: Mapping[str, str] | None = None) -> str:
    """Return a LaTeX ``table`` with a row for each of ``table``'s and a rule between budgets.

    ``ticks`` names for a column the value that becomes a tick mark; the other is left blank.
    Among the rows of a block and a budget that are done and within it the best score is bold and
    the second underlined; a row over its budget has a dagger. Intervals are left out.
    """
    ticks = ticks or {}
    columns = _columns(table)
    number = next(i for i, column in enumerate(columns) if column.role != "key")
    lines, last, is_over = [], None, False
    places = [ranked(block) for block in table.blocks]
    for block, ranks in zip(table.blocks, places, strict=True):
        for at, row in enumerate(block.rows):
            cells = [_cell(c, row, ranks.get((at, c.name), 0), ticks) for c in columns]
            if row["status"] != "done":
                cells[number] = rf"\emph{{{escape(str(row['status']))}}}"
            elif row.get("satisfied") is False:
                cells[number] += _DAGGER
                is_over = True
            if last not in (None, row["budget"]):
                cells[0] = "\\midrule\n" + cells[0]
            last = row["budget"]
            lines.append(cells)
    legend = " Best in bold, second underlined." if any(places) else ""
    legend += rf" {_DAGGER}: over budget." if is_over else ""
    frame = pd.DataFrame(lines, columns=[_head(column, ticks) for column in columns])
    sides = ["c" if c.name in ticks else "l" if c.role == "key" else "r" for c in columns]
    caption = f"{escape(caption)}, {escape(table.blocks[0].model)}.{legend}"
    text = frame.style.hide(axis="index").to_latex(
        hrules=True, position="t", position_float="centering", caption=caption,
        column_format="".join(sides),
    )  # fmt: skip
    return f"% \\usepackage{{booktabs,amssymb}}\n{text}"


def _columns(table: Table) -> list[Column]:
    block = table.blocks[0]
    keys = [c for c in block.columns if c.role == "key" and c.view == "brief"]
    numbers = [block.column(name) for name in _SHOWN]
    used = [c for c in numbers if any(b.frame[c.name].notna().any() for b in table.blocks)]
    return [*keys, *(used or numbers[:1])]


def _head(column: Column, ticks: Mapping[str, str]) -> str:
    if column.name in ticks:
        return escape(f"{column.header} ({ticks[column.name]})")
    arrow = _ARROWS.get(column.direction or "", "") if column.role == "score" else ""
    return escape(column.header) + arrow


def _cell(column: Column, row: Row, place: int, ticks: Mapping[str, str]) -> str:
    if column.name in ticks:
        return r"\checkmark" if row.get(column.name) == ticks[column.name] else ""
    text = escape(replace(column, interval=None).text(row)) or NOTHING
    return f"{_PLACES[place]}{{{text}}}" if place in _PLACES else text
