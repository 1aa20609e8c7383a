"""A table as LaTeX in the form of a paper: booktabs rules, best in bold, second underlined.

A table is as wide as a column of a two-column article where it fits (``table``), or as the text
(``table*``). Its width is estimated from its letters, and columns are never scaled unless there
are more than eight.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..records.columns import FRECHET_NAMES, frechet_names
from ..records.selection import EVERYTHING, WIDTHS, Selection
from .grid import Cell, Grid, Head
from .latex_text import breakable, escape, text_width
from .pivot import grids
from .table import Block, Table

Ticks = Mapping[str, str]
NOTHING = "--"
_DAGGER = r"\dag{}"
_ARROWS = {"lower": r" $\downarrow$", "higher": r" $\uparrow$"}
_PLACES = {1: r"\textbf", 2: r"\underline"}
_POINTS = 72.27  # to the inch
COLUMN, TEXT = (WIDTHS[name] * _POINTS for name in ("column", "text"))
# Points of \footnotesize and \scriptsize in an article of 10 pt. The latter are 7 pt, but wide.
_USUAL_SIZE, _SMALL = 8.0, 7.6
_GAP = 3.0  # points on each side of a column
_FEW = 8  # columns that are not scaled
_NARROWEST = 50.0  # points of a column whose text is broken into lines
_USUAL = ("fd", "fd_delta", "sfd", "psnr", "output_mse", "bitops", "bytes")
_MEANING = {
    "_ci": r"$\pm$: half-width of the 95\,\% interval",
    "_std": r"$\pm$: standard deviation over seeds",
}


@dataclass(frozen=True)
class _Layout:
    """How a table fits: ``broken`` is the width in points of columns whose text is broken."""

    is_wide: bool
    size: str = "footnotesize"
    broken: float | None = None
    is_scaled: bool = False


def to_latex(
    table: Table, title: str, selection: Selection = EVERYTHING, label: str = "results"
) -> str:
    """Return a LaTeX table for each block, or for all of them where models are across.

    Without selected columns it has the usual ones that have values. ``label`` becomes that of
    LaTeX, with the name of a block where there are several. Raises BenchError as ``grids``.
    """
    if not (selection.columns or selection.pivot):
        used = {
            n for b in table.blocks for n in _USUAL if n in b.frame and b.frame[n].notna().any()
        }
        names = [name for name in _USUAL if name in used] or [_USUAL[0]]
        if {"output_mse", "fd"} <= used:
            names.remove("output_mse")
        selection = selection.model_copy(update={"columns": tuple(names)})
    found = grids(table, selection, "brief")
    labels = [label if len(found) == 1 else f"{label}-{grid.blocks[0].name}" for grid in found]
    texts = [latex_grid(g, title, selection, name) for g, name in zip(found, labels, strict=True)]
    return "\n".join(texts)


def latex_grid(
    grid: Grid, title: str, selection: Selection, label: str, ticks: Ticks | None = None
) -> str:
    """Return one LaTeX table.

    ``ticks`` names for a column the value that becomes a tick mark; the other is left blank. Among
    the rows of a block and a budget that are done and within it the best score is bold and the
    second underlined; a row over its budget has a dagger. The highlighted method has a bold name,
    which needs neither colour nor a package.
    """
    ticks = ticks or {}
    layout = _layout(grid, selection, ticks)
    sides = [_side(grid, at, layout, ticks) for at in range(len(grid.heads))]
    lines = [*_head_lines(grid, ticks), r"\midrule"]
    for line, has_rule in zip(grid.lines, grid.rules, strict=True):
        lines += [r"\midrule"] if has_rule else []
        cells = zip(*zip(*grid.pairs(line), strict=True), sides, strict=True)
        lines.append(
            _joined(_cell(h, c, line.is_highlighted, ticks, "p" in side) for h, c, side in cells)
        )
    start = rf"\begin{{tabular}}{{@{{}}{''.join(sides)}@{{}}}}"
    body = [start, r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"]
    if layout.is_scaled:
        body = [r"\resizebox{\textwidth}{!}{%", *body, "}"]
    packages = ["booktabs", *(["amssymb"] if ticks else [])]
    packages += ["graphicx"] if layout.is_scaled else []
    name = "table*" if layout.is_wide else "table"
    return "\n".join([
        f"% \\usepackage{{{','.join(packages)}}}", rf"\begin{{{name}}}[t]", r"\centering",
        r"\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{_caption(grid, title, selection, ticks)}}}", rf"\label{{tab:{label}}}",
        rf"\{layout.size}", rf"\setlength{{\tabcolsep}}{{{_GAP:g}pt}}", *body,
        rf"\end{{{name}}}", "",
    ])  # fmt: skip


def width(grid: Grid, points: float = _USUAL_SIZE, ticks: Ticks | None = None) -> float:
    """Return the estimated width of a table in points, with letters of ``points``."""
    return sum(_widths(grid, points, ticks or {})) + 2 * _GAP * (len(grid.heads) - 1)


def fitting(grid: Grid, most: float, kept: int, ticks: Ticks | None = None) -> Grid:
    """Return ``grid`` with as many columns from the left as fit into ``most`` points.

    The first ``kept`` columns always stay.
    """
    count = len(grid.heads)
    while count > kept and width(grid, ticks=ticks) > most:
        count -= 1
        lines = tuple(replace(line, cells=line.cells[:count]) for line in grid.lines)
        grid = replace(grid, heads=grid.heads[:count], lines=lines)
    return grid


def _layout(grid: Grid, selection: Selection, ticks: Ticks) -> _Layout:
    usual = width(grid, ticks=ticks)
    if usual <= COLUMN and selection.inches <= WIDTHS["column"]:
        return _Layout(is_wide=False)
    if usual <= TEXT:
        return _Layout(is_wide=True)
    small = _Layout(is_wide=True, size="scriptsize")
    if width(grid, _SMALL, ticks) <= TEXT:
        return small
    if len(grid.heads) > _FEW:
        return replace(small, is_scaled=True)
    return replace(small, broken=_broken(grid, ticks))


def _broken(grid: Grid, ticks: Ticks) -> float:
    """Return the largest width that columns of text may have for the table to fit."""
    widths = _widths(grid, _SMALL, ticks)
    texts = [size for size, head in zip(widths, grid.heads, strict=True) if not head.is_number]
    left = TEXT - width(grid, _SMALL, ticks) + sum(texts)
    share = left / len(texts)
    for count, size in enumerate(sorted(texts)):
        share = left / (len(texts) - count)
        if size > share:
            break
        left -= size
    return max(share, _NARROWEST)


def _widths(grid: Grid, points: float, ticks: Ticks) -> list[float]:
    """Return the width of every column in points, at least that of its heading."""
    widths = []
    for at, head in enumerate(grid.heads):
        is_name = head.column.name == "method"
        cells = [
            _cell_width(head, line.cells[at], points, ticks, is_name and line.is_highlighted)
            for line in grid.lines
        ]
        arrow = points if _arrow(head) else 0.0
        widths.append(max([text_width(_header(head, ticks), points) + arrow, *cells]))
    end = 0
    for group, count in grid.groups:
        end += count
        room = sum(widths[end - count : end]) + 2 * _GAP * (count - 1)
        widths[end - 1] += max(0.0, text_width(group, points) - room)
    return widths


def _cell_width(head: Head, cell: Cell, points: float, ticks: Ticks, is_own: bool) -> float:
    if head.column.name in ticks:
        return points
    value, half = _parts(cell)
    own = text_width(value, points, bold=is_own or cell.place == 1)
    own += text_width(f"±{half}", _SMALL) + 3.5 if half else 0.0
    return own + (0.5 * points if cell.state == "over" else 0.0)


def _parts(cell: Cell) -> tuple[str, str]:
    """Return the value of a cell and its half-width; in place of a value the status."""
    if cell.state == "lost" and cell.row:
        return str(cell.row["status"]), ""
    value, _, half = cell.text.partition(" ±")
    return value or NOTHING, half


def _cell(head: Head, cell: Cell, is_highlighted: bool, ticks: Ticks, is_broken: bool) -> str:
    name = head.column.name
    if name in ticks:
        return r"\checkmark" if cell.text == ticks[name] else ""
    value, half = _parts(cell)
    text = value if value == NOTHING else (breakable if is_broken else escape)(value)
    if cell.state == "lost":
        return rf"\emph{{{text}}}"
    if cell.place in _PLACES:
        text = f"{_PLACES[cell.place]}{{{text}}}"
    elif name == "method" and is_highlighted:
        text = rf"\textbf{{{text}}}"
    if half:
        text += rf"{{\scriptsize\,$\pm$\,{escape(half)}}}"
    return text + (_DAGGER if cell.state == "over" else "")


def _head_lines(grid: Grid, ticks: Ticks) -> list[str]:
    lines, rules, at = [], [], 1
    if any(head.group for head in grid.heads):
        cells: list[str] = []
        for group, count in grid.groups:
            cells += (
                [rf"\multicolumn{{{count}}}{{c}}{{{escape(group)}}}"] if group else [""] * count
            )
            rules += [rf"\cmidrule(lr){{{at}-{at + count - 1}}}"] if group else []
            at += count
        lines = [_joined(cells), " ".join(rules)]
    return [*lines, _joined(escape(_header(h, ticks)) + _arrow(h) for h in grid.heads)]


def _joined(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _header(head: Head, ticks: Ticks) -> str:
    """Return the heading; over tick marks it is what they stand for."""
    return ticks.get(head.column.name, head.column.header)


def _arrow(head: Head) -> str:
    is_cost = head.column.role in ("cost", "rank")
    return "" if is_cost else _ARROWS.get(head.column.direction or "", "")


def _side(grid: Grid, at: int, layout: _Layout, ticks: Ticks) -> str:
    head = grid.heads[at]
    if head.column.name in ticks:
        return "c"
    if head.is_number:
        return "r"
    is_long = layout.broken is not None and _widths(grid, _SMALL, ticks)[at] > layout.broken
    return f"p{{{layout.broken:.0f}pt}}" if is_long else "l"


def _caption(grid: Grid, title: str, selection: Selection, ticks: Ticks) -> str:
    """Return the title and models, or the caption that is selected; then what readers must know."""
    models = ", ".join(dict.fromkeys(block.model for block in grid.blocks))
    own = selection.caption or f"{title}, {models}"
    cells = [(h, c) for line in grid.lines for h, c in grid.pairs(line)]
    ends = {h.column.interval.removeprefix(h.column.name) for h, c in cells if h.column.interval
            and "±" in c.text}  # fmt: skip
    told = [escape(own.removesuffix("."))]
    told += dict.fromkeys(_measured(block) for block in grid.blocks)
    told += [text for end, text in _MEANING.items() if end in ends]
    told += ["Best in bold, second underlined"] if any(c.place for _, c in cells) else []
    told += [rf"{_DAGGER}: over budget"] if any(c.state == "over" for _, c in cells) else []
    marked = [f"{head.column.header} {ticks[head.column.name]}" for head in grid.heads
              if head.column.name in ticks]  # fmt: skip
    told += [f"Ticks: {escape(', '.join(marked))}"] if marked else []
    return ". ".join(filter(None, told)) + "."


def _measured(block: Block) -> str:
    """Return N and the reference of the rows of a block."""
    done = block.done
    if done.empty:
        return "No job is done"
    counts = ", ".join(str(n) for n in sorted(done["n_images"].dropna().unique()))
    parts = [f"$N = {counts}$ images{' per seed' if 'seeds_done' in done else ''}"]
    if block.extractor and done["fd"].notna().any():
        protocol = done.sort_values("method")["protocol"].iloc[0]
        parts.append(f"reference {escape(str(protocol.get('reference')))}")
        if block.extractor not in FRECHET_NAMES:
            name = frechet_names(block.extractor)[0].partition(" ")[0]
            parts.append(f"{name} (not FID) in features {escape(block.extractor)}")
    return ", ".join(parts)
