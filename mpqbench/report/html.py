"""A table as an HTML fragment: everything that comes from a record is escaped."""

from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..records.columns import printable
from ..records.selection import EVERYTHING, Selection
from .grid import Cell, Head, note_of
from .notes import TEXTS
from .pivot import grids
from .render import shown
from .table import Table


def _visible(value: Any) -> Any:
    """Return a text with its control sequences written out."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


_TEMPLATES = Environment(
    loader=FileSystemLoader(TEXTS), undefined=StrictUndefined, autoescape=True, trim_blocks=True,
    lstrip_blocks=True, finalize=_visible,
)  # fmt: skip


def to_html(table: Table, title: str, selection: Selection = EVERYTHING) -> str:
    """Return a ``section`` with a table and the notes of every block (or pivot).

    Classes: ``best`` and ``second`` of cells, ``number`` of cells aligned right, ``highlight`` of
    rows. There is no style and no script. Raises BenchError as ``grids``.
    """
    found = grids(table, selection, "brief", "full")
    template = _TEMPLATES.get_template("table.html.jinja")
    return template.render(
        title=title, grids=found, left_out=table.notes, shown=shown, note_of=note_of,
        classes=_classes,
    )  # fmt: skip


def _classes(head: Head, cell: Cell) -> str:
    words = ["number"] if head.is_number else []
    return " ".join(words + {1: ["best"], 2: ["second"]}.get(cell.place, []))
