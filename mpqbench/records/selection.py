"""What tables and figures show of some records, in which order, and under which names."""

from collections.abc import Iterable
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, Field

from ..core.errors import BenchError, unknown
from ..core.settings import Frozen
from .runs import Runs
from .schema import JobRecord

WIDTHS = {"column": 3.33, "text": 6.95}  # inches: of a two-column article with 10 pt between them
NARROWEST, WIDEST = 1.5, 20.0


def _colour(text: str) -> str:
    from matplotlib.colors import is_color_like

    if not is_color_like(text):
        raise ValueError(f"'{text}' is no colour: write one such as '#0072B2'")
    return text


Inches = Annotated[float, Field(ge=NARROWEST, le=WIDEST)]
Colour = Annotated[str, AfterValidator(_colour)]


class Selection(Frozen):
    """The choices of one table or figure.

    An empty ``methods``, ``models``, ``budgets`` or ``formats`` is all of them. ``methods`` and
    ``budgets`` are also an order. Full precision is always kept. ``labels`` and ``colours`` are by
    method; names of methods stay as they are in CSV files. ``width`` is ``column`` or ``text`` of a
    two-column article, or inches. ``costs`` are those
    that a trade-off is drawn against; without any, the totals of BitOPs that differ.
    """

    methods: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    labels: dict[str, str] = Field({})
    colours: dict[str, Colour] = Field({})
    highlight: str | None = None
    pivot: Literal["budget", "format", "model"] | None = None
    intervals: bool = True
    width: Literal["column", "text"] | Inches = "column"
    titles: bool = False
    costs: tuple[Literal["bitops", "bitops_linear", "bytes"], ...] = ()

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
        for axis in ("method", "model", "budget", "format"):
            self._check(axis, runs.records)
        kept = [record for record in runs.records if self._takes(record)]
        if not any(not record.is_full_precision for record in kept):
            raise BenchError("no quantized record has all that is selected: select less")
        return runs.with_records(kept)

    def ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows in the order of ``methods`` within each budget, if they are given."""
        places = {method: at for at, method in enumerate(self.methods)}
        budgets = {budget: at for at, budget in enumerate(self.budgets)}
        if not places and not budgets:
            return frame
        budget = frame["budget"].map(budgets) if budgets else pd.factorize(frame["budget"])[0]
        keys = frame.assign(
            _full=frame["method"].ne("full-precision"), _budget=budget,
            _method=frame["method"].map(places) if places else 0,
        )  # fmt: skip
        by = ["_full", "_budget", "_method"]
        return frame.loc[keys.sort_values(by, kind="stable").index].reset_index(drop=True)

    def _check(self, axis: str, records: Iterable[JobRecord]) -> None:
        valid = {str(getattr(record, axis)) for record in records} - {""}
        for name in getattr(self, f"{axis}s"):
            if name not in valid:
                raise unknown(axis, name, valid)

    def _takes(self, record: JobRecord) -> bool:
        if self.models and record.model not in self.models:
            return False
        pairs = ((self.methods, record.method), (self.budgets, record.budget),
                 (self.formats, record.format))  # fmt: skip
        return record.is_full_precision or all(not given or one in given for given, one in pairs)
