"""A table with one line per method, and budgets, classes of formats or models across."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.errors import BenchError
from ..records.columns import Column, Row
from ..records.schema import FULL_METHOD
from ..records.selection import EVERYTHING, Selection
from .grid import Cell, Grid, Head, Line, cells_of, chosen, flat, note_of, places_by_row
from .table import Block, Table

_KEYS = ("method", "budget", "format", "seed")
_UNLIMITED = ("budget", "format")  # what full precision has none of
_USUAL = ("fd", "fd_delta")  # columns of a group, where none are selected


@dataclass
class _Rows:
    """The rows of one line: the first, the cells of each group, and notes."""

    first: Row
    groups: dict[str, tuple[Cell, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def grids(table: Table, selection: Selection = EVERYTHING, *views: str) -> list[Grid]:
    """Return what is shown of each block, or of all blocks where models are across.

    Without selected columns these are the columns of ``views`` that have values. Raises BenchError
    where a pivot has several rows for one cell.
    """
    blocks = [replace(b, frame=selection.ordered(b.frame)) for b in table.blocks]
    if selection.pivot == "model":
        return [_pivoted(_of_models(blocks, selection), selection)]
    if selection.pivot:
        return [_pivoted([block], selection) for block in blocks]
    return [flat([block], chosen(block, selection, views), selection) for block in blocks]


def _of_models(blocks: Sequence[Block], selection: Selection) -> list[Block]:
    """Return one block for each model, in the order of the selection."""
    models = [block.model for block in blocks]
    if twice := next((model for model in models if models.count(model) > 1), None):
        raise BenchError(f"pivot: model '{twice}' is measured in several ways: give fewer runs")
    order = {model: at for at, model in enumerate(selection.models)}
    return sorted(blocks, key=lambda block: order.get(block.model, 0))


def _pivoted(blocks: Sequence[Block], selection: Selection) -> Grid:
    """Return a line for each method, and key that differs, with a group for each value across."""
    axis = str(selection.pivot)
    rows = [row for b in blocks for row in b.rows if row["method"] != FULL_METHOD]
    rest = [key for key in _KEYS if key != axis and key in blocks[0].frame]
    keys = [key for key in rest if key == "method" or len({row[key] for row in rows}) > 1]
    columns = {block.model: _across(block, selection, keys) for block in blocks}
    if axis == "model":
        groups = columns
    else:
        groups = {str(row[axis]): columns[blocks[0].model] for row in rows}
    ahead = [blocks[0].column(key) for key in keys]
    heads = [Head(column) for column in ahead]
    heads += [Head(column, group) for group, many in groups.items() for column in many]
    found = _found(blocks, selection, keys, groups)
    lines = []
    for each in found.values():
        cells = list(cells_of(each.first, ahead, selection, {}))
        for group, many in groups.items():
            cells += each.groups.get(group, tuple(Cell() for _ in many))
        part = str(each.first["budget"]) if "budget" in keys else str(_is_full(each.first))
        is_highlighted = each.first["method"] == selection.highlight
        lines.append(Line(tuple(cells), part, is_highlighted, tuple(each.notes)))
    return Grid(tuple(blocks), tuple(heads), tuple(lines), is_pivot=True)


def _found(
    blocks: Sequence[Block],
    selection: Selection,
    keys: Sequence[str],
    groups: Mapping[str, Sequence[Column]],
) -> dict[tuple[str, ...], _Rows]:
    """Return the rows of every line. Full precision, which has no budget, is in every group."""
    axis = str(selection.pivot)
    found: dict[tuple[str, ...], _Rows] = {}
    for block in blocks:
        places = places_by_row(block)
        for at, row in enumerate(block.rows):
            line = tuple(str(row[key]) for key in keys if not (_is_full(row) and key in _UNLIMITED))
            own = found.setdefault(line, _Rows(row))
            is_everywhere = _is_full(row) and axis in _UNLIMITED
            for group in groups if is_everywhere else [str(row[axis])]:
                if group in own.groups:
                    raise BenchError(
                        f"pivot: method '{row['method']}' has two rows at {axis} '{group}', of "
                        "other recipes or environments: give fewer runs, or leave the pivot out"
                    )
                own.groups[group] = cells_of(row, groups[group], selection, places[at])
            if note := note_of(row, whole=True):
                own.notes.append(f"{selection.label(str(row['method']))}, {row[axis]}: {note}")
    return found


def _is_full(row: Row) -> bool:
    return row["method"] == FULL_METHOD


def _across(block: Block, selection: Selection, keys: Sequence[str]) -> list[Column]:
    """Return the columns of one group of a pivot."""
    columns = [c for c in chosen(block, selection, ("brief", "full")) if c.name not in keys]
    columns = [column for column in columns if column.role != "key"]
    if selection.columns:
        return columns
    usual = [column for column in columns if column.name in _USUAL]
    return usual or [column for column in columns if column.role == "score"][:1]
