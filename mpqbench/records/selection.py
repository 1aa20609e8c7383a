"""What tables and figures show of some records, in which order, and under which names."""

from collections.abc import Iterable
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, Field

from ..core.errors import BenchError, unknown
from ..core.settings import Frozen
from .columns import LEADERBOARD, SUMMARY, Column
from .runs import Runs
from .schema import FULL_METHOD, JobRecord

WIDTHS = {"column": 3.33, "text": 6.95}  # inches: of a two-column article with 10 pt between them
NARROWEST, WIDEST = 1.5, 20.0
ALIASES = {"delta": "fd_delta"}  # short names of columns
AXES = ("method", "model", "budget", "format")


def _colour(text: str) -> str:
    from matplotlib.colors import is_color_like

    if not is_color_like(text):
        raise ValueError(f"'{text}' is no colour: write one such as '#0072B2'")
    return text


def _column(name: str) -> str:
    known = {column.name: column for column in (*LEADERBOARD, *SUMMARY)}
    name = ALIASES.get(name, name)
    if name not in known or known[name].role == "interval":
        usual = [column.name for column in known.values() if column.view != "data"]
        raise unknown("column", name, [*usual, *ALIASES])
    return name


Inches = Annotated[float, Field(ge=NARROWEST, le=WIDEST)]
Colour = Annotated[str, AfterValidator(_colour)]
ColumnName = Annotated[str, AfterValidator(_column)]


class Selection(Frozen):
    """The choices of one table or figure.

    An empty ``methods``, ``models``, ``budgets`` or ``formats`` is all of them. ``methods`` and
    ``budgets`` are also an order; ``order`` is a column by which rows of a budget are sorted, the
    best first, before that of ``methods``. Full precision is always kept. ``columns`` are those of
    tables besides the keys of a row. ``labels`` and ``colours`` are by method; names of methods
    stay as they are in CSV files. ``caption`` is that of a table, in place of its title. ``width``
    is ``column`` or ``text`` of a two-column article, or inches. ``costs`` are those that a
    trade-off is drawn against; without any, the totals of BitOPs that differ.
    """

    methods: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    columns: tuple[ColumnName, ...] = ()
    order: ColumnName | None = None
    labels: dict[str, str] = Field({})
    colours: dict[str, Colour] = Field({})
    highlight: str | None = None
    pivot: Literal["budget", "format", "model"] | None = None
    intervals: bool = True
    width: Literal["column", "text"] | Inches = "column"
    titles: bool = False
    costs: tuple[Literal["bitops", "bitops_linear", "bytes"], ...] = ()
    caption: str | None = None

    @property
    def inches(self) -> float:
        """The width in inches."""
        return WIDTHS[self.width] if isinstance(self.width, str) else self.width

    def label(self, method: str) -> str:
        """Return what ``method`` is called for readers."""
        return self.labels.get(method, method)

    def of(self, runs: Runs) -> Runs:
        """Return ``runs`` with the selected records.

        Raises BenchError for a method, model, budget or class of formats that no record has.
        """
        for axis in AXES:
            self._check(axis, getattr(self, f"{axis}s"), runs.records)
        named = [*self.labels, *self.colours, *([self.highlight] if self.highlight else [])]
        self._check("method", named, runs.records)
        kept = [record for record in runs.records if self._takes(record)]
        if not any(not record.is_full_precision for record in kept):
            raise BenchError("no quantized record has all that is selected: select less")
        return runs.with_records(kept)

    def ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows in the order of ``budgets``, ``order`` and ``methods``, where given.

        Rows are sorted within each budget; full precision stays first.
        """
        if not (self.methods or self.budgets or self.order):
            return frame
        budgets = self.budgets or tuple(dict.fromkeys(frame["budget"]))
        keys = {
            "full": frame["method"].ne(FULL_METHOD),
            "budget": _places(frame, "budget", budgets),
        }
        if self.order:
            column = next(c for c in (*LEADERBOARD, *SUMMARY) if c.name == self.order)
            keys["order"] = _sortable(frame, column)
        if self.methods:
            keys["method"] = _places(frame, "method", self.methods)
        places = pd.DataFrame(keys).sort_values(list(keys), kind="stable").index
        return frame.loc[places].reset_index(drop=True)

    def _check(self, axis: str, names: Iterable[str], records: Iterable[JobRecord]) -> None:
        valid = {str(getattr(record, axis)) for record in records} - {""}
        for name in names:
            if name not in valid:
                raise unknown(axis, name, valid)

    def _takes(self, record: JobRecord) -> bool:
        if self.models and record.model not in self.models:
            return False
        pairs = ((self.methods, record.method), (self.budgets, record.budget),
                 (self.formats, record.format))  # fmt: skip
        return record.is_full_precision or all(not given or one in given for given, one in pairs)


EVERYTHING = Selection.model_validate({})


def _places(frame: pd.DataFrame, axis: str, names: tuple[str, ...]) -> pd.Series:
    return frame[axis].map({name: at for at, name in enumerate(names)})


def _sortable(frame: pd.DataFrame, column: Column) -> pd.Series:
    """Return what sorts the rows by ``column`` with the best first; missing values go last."""
    if column.name not in frame:
        raise BenchError(f"order: this table has no column '{column.name}'")
    if not (column.form or column.role in ("score", "cost", "rank")):
        return frame[column.name]
    return frame[column.name].astype("float64") * (-1 if column.direction == "higher" else 1)
