"""A table as LaTeX in the form of a paper: booktabs rules, best in bold, second underlined.

Needs the packages ``booktabs`` and, for tick marks, ``amssymb``; nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .columns import Column, Row
from .render import ranked
from .table import Table

NOTHING = "--"
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "\u00d7": r"$\times$", "·": r"$\cdot$", "Δ": r"$\Delta$", "≈": r"$\approx$",
    "τ": r"$\tau$", "→": r"$\to$",
}  # fmt: skip
_DEAR = r"$^\dagger$"
_SHOWN = ("fd", "sfd", "is", "output_mse", "bitops", "bytes")


def escape(text: str) -> str:
    """``text`` as LaTeX prints it: no character has a meaning of its own."""
    raised = re.sub(f"[{_RAISED}]+", _superscript, text)
    return re.sub(
        "\0([^\0]*)\0",
        lambda match: f"$^{{{match[1]}}}$",
        "".join(_SPECIAL.get(letter, letter) for letter in raised),
    )


def latex_table(table: Table, caption: str, ticks: Mapping[str, str] | None = None) -> str:
    """A ``table`` with a row for each of ``table``'s, a rule between budgets.

    Columns are the brief keys, then FD, sFD, IS, output MSE, BitOPs and MB, those that have
    values. ``ticks`` names for a column the value that becomes a tick mark, its other one being
    left blank. Among the rows of a block and a budget that are done and within it the best score is
    bold and the second underlined; one over it has a dagger. Intervals are left out.
    """
    ticks = ticks or {}
    columns = _columns(table)
    placed = [ranked(block) for block in table.blocks]
    lines, last = [], None
    for block, places in zip(table.blocks, placed, strict=True):
        for number, row in enumerate(block.rows):
            if last is not None and last != row["budget"]:
                lines.append(r"\midrule")
            last = row["budget"]
            marks = {name: place for (i, name), place in places.items() if i == number}
            lines.append(_line(_cells(columns, row, marks, ticks)))
    heads = [_head(column, ticks) for column in columns]
    legend = " Best in bold, second underlined." if any(placed) else ""
    legend += rf" {_DEAR}: over budget." if any(_is_dear(row) for row in table.rows) else ""
    align = "".join("c" if c.name in ticks else "l" if c.role == "key" else "r" for c in columns)
    return "\n".join(
        [
            r"% \usepackage{booktabs,amssymb}",
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape(caption)}, {escape(table.blocks[0].model)}.{legend}}}",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            _line(heads),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _columns(table: Table) -> list[Column]:
    block = table.blocks[0]
    keys = [c for c in block.columns if c.role == "key" and c.view == "brief"]
    numbers = [block.column(name) for name in _SHOWN]
    used = [c for c in numbers if any(row.get(c.name) is not None for row in table.rows)]
    return [*keys, *(used or numbers[:1])]


def _head(column: Column, ticks: Mapping[str, str]) -> str:
    if column.name in ticks:
        return escape(f"{column.header} ({ticks[column.name]})")
    arrow = {"lower": r" $\downarrow$", "higher": r" $\uparrow$"}.get(column.direction or "", "")
    return escape(column.header) + (arrow if column.role == "score" else "")


def _cells(
    columns: list[Column], row: Row, marks: Mapping[str, int], ticks: Mapping[str, str]
) -> list[str]:
    keys = [_key(column, row, ticks) for column in columns if column.role == "key"]
    numbers = [_number(column, row, marks) for column in columns if column.role != "key"]
    if row["status"] != "done":
        numbers[0] = rf"\emph{{{escape(str(row['status']))}}}"
    elif _is_dear(row):
        numbers[0] += _DEAR
    return keys + numbers


def _is_dear(row: Row) -> bool:
    return row["status"] == "done" and row.get("satisfied") is False


def _key(column: Column, row: Row, ticks: Mapping[str, str]) -> str:
    if column.name in ticks:
        return r"\checkmark" if row.get(column.name) == ticks[column.name] else ""
    return escape(column.text(row)) or NOTHING


def _number(column: Column, row: Row, marks: Mapping[str, int]) -> str:
    if row.get(column.name) is None:
        return NOTHING
    plain = Column(column.name, column.header, column.role, None, column.form, column.scale)
    text = escape(plain.text(row))
    return {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(
        marks.get(column.name, 0), text
    )


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _superscript(match: re.Match[str]) -> str:
    digits = "".join("0123456789-"[_RAISED.index(letter)] for letter in match[0])
    return f"\0{digits}\0"
