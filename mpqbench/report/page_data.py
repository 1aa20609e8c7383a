"""What a page of results is made of: its tables and numbers, as its ``about.md`` asks for them:

```table
from: leaderboard.csv        # a CSV file of the folder, or `records`
where: budget == 'W4A4'      # rows to take, as for pandas.DataFrame.query
against: uniform             # with records: the rival of the columns `less` and `less_ci`
instead: {format: channel}   # or of a row the same method with other values of these columns
group: [method, budget]      # means over all other columns, seeds for instance
rows: [method]               # columns that name a row
labels: {rtn: nearest}       # names of the first of them, which select and order the rows
across: {budget: [W4A4]}     # a column that is spread over the columns of the table
columns: {FD: "{fd:.2f}"}    # heading: format of the cell, or a list of which the first fits
```
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any, Literal

import pandas as pd
from pydantic import Field

from ..core.errors import BenchError
from ..core.settings import Frozen
from ..records.board import ABOUT, RECORDS
from ..records.environment import by_environment, not_citable
from ..records.frame import paired, records_frame
from ..records.realizations import realization_means
from ..records.schema import FULL_METHOD, JobRecord
from ..records.statistics import mean_half_width
from ..records.store import RecordStore
from .notes import notes
from .render import escaped, pipe_table

UNITS = {
    "gbitops": ("bitops", 1e-9),
    "mb": ("bytes", 1e-6),
    "output_error": ("output_mse", 1e3),
    "noise_error": ("noise_mse", 1e3),
}
_CELL = ["method", "budget", "format", "metric_fingerprint", "seed"]
Rival = str | dict[str, str] | None  # of every method, or of each one by name


def read_records(folder: Path) -> list[list[JobRecord]]:
    """Return the records of ``folder`` and of those in it. Raises BenchError if there are none."""
    folders = sorted(path.parent for path in folder.rglob(RECORDS) if path.is_dir())
    batches = [batch for each in folders if (batch := RecordStore(each).read_all())]
    if not batches:
        raise BenchError(f"{folder} has no records")
    return batches


def _job_frame(folder: Path, against: Rival, instead: Mapping[Any, str]) -> pd.DataFrame:
    """Return a row for each method, budget, format and seed, with the columns of ``leaderboard``.

    ``fd_delta`` is the paired difference of FD to full precision, ``less`` that to the rival in the
    same class of formats, or to the row that has the values of ``instead``; ``*_ci`` are
    half-widths of 95 % intervals, with the variance between realizations of a row of several.
    """
    frames = [records_frame(each) for each in read_records(folder)]
    frame = pd.concat(
        [realization_means(each.assign(home=each["metric_fingerprint"])) for each in frames],
        ignore_index=True,
    )
    methods = frame["method"]
    rivals = methods.map(against) if isinstance(against, dict) else against
    full = frame.assign(method=FULL_METHOD, budget="FP", format="")
    indexed = frame.set_index(_CELL)
    rival = frame.assign(**instead) if instead else frame.assign(method=rivals)
    for name, wanted in (("fd_delta", full), ("less", rival)):
        is_other = (wanted[_CELL] != frame[_CELL]).any(axis=1)
        found = paired(wanted, indexed).where(is_other)
        frame[name], frame[f"{name}_ci"] = found["delta"], found["ci"]
    frame["groups_at_w2"] = frame.pop("counts").map(_groups_at_w2, "ignore")
    return frame


def _groups_at_w2(counts: Mapping[str, int]) -> int:
    return sum(count for precision, count in counts.items() if precision.startswith("W2"))


def grouped(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the mean of every number over the rows that are alike in ``by``, in their order.

    ``*_ci`` become ``mean_half_width``.
    """
    numbers = frame.select_dtypes("number").drop(columns=by, errors="ignore").astype("float64")
    keys = [frame[name] for name in by]
    groups = numbers.groupby(keys, sort=False, dropna=False)
    means = groups.mean()
    for name in means.columns[means.columns.str.endswith("_ci")]:
        means[name] = groups[name].agg(mean_half_width)
    return means.reset_index()


def measured(records: Sequence[JobRecord]) -> tuple[str, ...]:
    """Return one line of Markdown for each thing a reader has to know: protocol and formats."""
    done = [record for record in records if record.status == "done"]
    formats: dict[str, dict[str, None]] = {}
    for record in done:
        if not record.is_full_precision and "weight_format" in record.recipe:
            formats.setdefault(_formats(record.recipe), {})[f"`{record.method}`"] = None
    return notes(
        "measured", records=records, done=done, first=(done or records)[0], formats=formats,
        images=[f"{count:,}" for count in sorted({record.n_images for record in done})],
        seeds=sorted({record.seed for record in done}),
        places=_places(records), reasons=not_citable(records),
    )  # fmt: skip


def _places(records: Sequence[JobRecord]) -> dict[tuple[str, str], str]:
    """Return the rows of every environment and commit in words."""
    found = by_environment(records)
    every = {key: _row_names(rows) for key, rows in found.items()}
    return every if len(every) > 1 else dict.fromkeys(every, "all rows")


def _row_names(rows: Sequence[JobRecord]) -> str:
    if len(rows) > MOST_NAMED:
        return f"{len(rows)} rows"
    return ", ".join(f"{escaped(row.method)} {row.budget} seed {row.seed}" for row in rows)


def _formats(recipe: Mapping[str, Any]) -> str:
    weight, activation = recipe["weight_format"], recipe["activation_format"]
    groups, bits = activation.get("time_groups", 1), recipe.get("attention_bits")
    facts = {"weight": weight, "activation": activation, "time_groups": groups, "bits": bits}
    return notes("formats", **facts)[0]


MOST_NAMED = 8  # rows that a list of environments names
NOT_COMPARED = "(not compared: rows of two environments)"
Row = dict[Any, Any]


class Source(Frozen):
    """Rows of a file or of records."""

    source: str = Field(alias="from")
    where: str | None = None
    against: Rival = None
    instead: dict[Literal["method", "budget", "format"], str] = Field({})
    group: list[str] = Field([])

    def frame(self, folder: Path) -> pd.DataFrame:
        """Return the rows, with the columns of ``UNITS``. Raises BenchError for no such file."""
        if self.source == RECORDS:
            frame = _job_frame(folder, self.against, self.instead)
        elif (path := folder / self.source).is_file():
            frame = pd.read_csv(path)
        else:
            raise BenchError(f"{folder / ABOUT} names {self.source}, which is not in {folder}")
        units = {name: factor * frame[of] for name, (of, factor) in UNITS.items() if of in frame}
        frame = frame.assign(**units)
        if self.where:
            frame = frame.query(self.where)
        return grouped(frame, self.group) if self.group else frame


class PageTable(Source):
    """A table of a page."""

    rows: list[str]
    labels: dict[str, str] = Field({})
    across: dict[str, list[Any]] = Field({})
    columns: dict[str, str | list[str]]

    def markdown(self, folder: Path) -> str:
        """Return the table. Raises BenchError for a row or a column that is not there."""
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.frame(folder).to_dict("records"):
            groups.setdefault(tuple(_text(row[name]) for name in self.rows), []).append(row)
        if missing := self.labels.keys() - {key[0] for key in groups}:
            raise BenchError(f"{folder / ABOUT}: no row called {', '.join(sorted(missing))}")
        keys = [key for label in self.labels for key in groups if key[0] == label] or list(groups)
        column, values = next(iter(self.across.items()), ("", [""]))
        cells = [(value, *item) for value in values for item in self.columns.items()]
        lines = []
        for first, *others in keys:
            texts = []
            for value, _, text in cells:
                rows = (r for r in groups[first, *others] if not column or r[column] == value)
                texts.append(_cell(text, next(rows, None)))
            lines.append([self.labels.get(first, escaped(first)), *map(escaped, others), *texts])
        headings = [f"{value} {heading}".strip() for value, heading, _ in cells]
        return pipe_table(pd.DataFrame(lines, columns=[*self.rows, *headings]), self.rows)


class Quoted(Source):
    """A number in a sentence: the format of the one row that is left."""

    cell: str


class Headline(Frozen):
    """A sentence with numbers: ``text`` with a ``{name}`` for each of ``values``."""

    text: str
    values: dict[str, Quoted] = Field({})

    def sentence(self, folder: Path) -> str:
        """Return the sentence. Raises BenchError where a number is of no row, or of several."""
        found = {}
        for name, value in self.values.items():
            frame = value.frame(folder)
            if len(frame) != 1:
                raise BenchError(f"{folder / ABOUT}: '{name}' is of {len(frame)} rows instead of 1")
            found[name] = _cell(value.cell, frame.to_dict("records")[0]) or NOT_COMPARED
        return self.text.format(**found)


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(texts: str | list[str], row: Row | None) -> str:
    """Return the first text whose values are known; else nothing, or why a job is not done."""
    if row is None:
        return ""
    for text in [texts] if isinstance(texts, str) else texts:
        names = [name for _, name, _, _ in Formatter().parse(text) if name]
        if unknown := [name for name in names if name not in row]:
            raise BenchError(f"a table has no column '{unknown[0]}'")
        if not any(pd.isna(row[name]) for name in names):
            return text.format(**row)
    return "" if row.get("status", "done") == "done" else str(row["status"])
