"""A table as LaTeX in the form of a paper: booktabs rules, best in bold, second underlined.

Needs the packages ``booktabs`` and, for tick marks, ``amssymb``; nothing else.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from ..records.columns import Column, Row
from .render import ranked
from .table import Table

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
    plain = text.translate(_SPECIAL)
    return re.sub(f"[{_RAISED}]+", lambda own: f"$^{{{own[0].translate(digits)}}}$", plain)


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
            cells = [_cell(own, row, ranks.get((at, own.name), 0), ticks) for own in columns]
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
    text = frame.style.hide(axis="index").to_latex(
        hrules=True,
        position="t",
        position_float="centering",
        caption=f"{escape(caption)}, {escape(table.blocks[0].model)}.{legend}",
        column_format="".join(sides),
    )
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
