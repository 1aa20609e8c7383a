"""An ablation on paper: a row for every cell, and what each component is worth. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..records.schema import FULL_METHOD, JobRecord
from .columns import LEADERBOARD, Column, Row, Value, adapt, frechet_names
from .summary import summary
from .table import Block, Table, leaderboard

if TYPE_CHECKING:
    import pandas as pd

Cells = Sequence[tuple[Mapping[str, str], str]]  # levels by factor, and the method that was run

_OF_IMAGES = ("fd", "sfd", "is")  # have a jackknife interval in the records
_OF_OUTPUTS = {"output_mse": "output MSE", "noise_mse": "noise MSE"}  # vary over seeds alone
_KNOWN = {column.name: column for column in LEADERBOARD}


def _of_outputs() -> Iterator[Column]:
    for name, header in _OF_OUTPUTS.items():
        yield replace(_KNOWN[name], interval=f"{name}_std", view="brief")
        yield Column(f"{name}_std", f"{header} std", "interval")


_BEFORE = (
    Column("method", "method", "key"),
    Column("budget", "budget", "key", view="brief"),
    Column("status", "status", "text"),
    Column("reason", "reason", "text"),
    Column("seeds_done", "seeds", "text", form=".0f", view="full"),
)
_AFTER = (
    *(_KNOWN[name + end] for name in _OF_IMAGES for end in ("", "_ci")),
    replace(_KNOWN["fd_delta"], view="full"),
    _KNOWN["fd_delta_ci"],
    *_of_outputs(),
    *(_KNOWN[name] for name in ("psnr", "ssim", "bitops", "bytes", "effective_bits", "satisfied")),
    *(_KNOWN[name] for name in ("search_evals", "seconds", "extractor", "n_images")),
    _KNOWN["metric_fingerprint"],
)
TAKEN = tuple(column.name for column in (*_BEFORE, *_AFTER))

_SECTIONS = {
    "contrast": "Levels, averaged over the other factors",
    "alone": "One level changed, all else at the base",
    "joint": "Two levels changed: beyond what each does by itself",
}


def response_headers(extractor: str | None) -> dict[str, str]:
    """What every response is called, the Fréchet distance after its features."""
    return {"fd": frechet_names(extractor)[0], **_OF_OUTPUTS}


def cell_table(cells: Cells, batches: Sequence[Sequence[JobRecord]]) -> Table:
    """A row for every cell and budget, means over the seeds that are done; full precision first.

    ``batches`` are records of one protocol each, which become a block of their own. Intervals of
    FD, its paired difference to full precision, sFD and IS are those of the seeds' jackknife
    intervals taken as independent, ``sqrt(sum h^2) / S``; that of errors of outputs is the standard
    deviation over seeds.
    """
    factors = tuple(Column(name, name, "key", view="brief") for name in cells[0][0])
    columns = (*_BEFORE[:2], *factors, *_BEFORE[2:], *_AFTER)
    blocks = [_block(cells, records, columns) for records in batches]
    return Table(tuple(blocks), columns)


def effect_sections(effects: pd.DataFrame, extractor: str | None) -> str:
    """Effects in Markdown: a section for every budget and response, then how to read them."""
    if effects.empty:
        return "No job is done: there is nothing to compare.\n"
    lines: list[str] = []
    log = effects.scale.iloc[0] == "log"
    headers = response_headers(extractor)
    for (budget, response), own in effects.groupby(["budget", "response"], sort=False):
        lines += [f"## Effects on {headers[str(response)]} at {budget}", ""]
        for kind, title in _SECTIONS.items():
            part = own[own.kind == kind]
            if len(part):
                lines += [f"### {title}", "", *_effect_rows(part, log), ""]
    return "\n".join([*lines, *(f"- {note}" for note in effect_notes(effects)), ""])


def effect_notes(effects: pd.DataFrame) -> list[str]:
    """What a reader must know to read effects, in sentences."""
    log = effects.scale.iloc[0] == "log"
    notes = [
        "x1.8: the change multiplies the response by 1.8 (geometric means over cells and seeds); "
        "a joint effect of x1 means that two changes multiply."
        if log
        else "+0.2: the change adds 0.2 to the response (means over cells and seeds); a joint "
        "effect of 0 means that two changes add up."
    ]
    kinds = {str(r): set(own.interval) - {""} for r, own in effects.groupby("response")}
    if any("images" in own for own in kinds.values()):
        notes.append(
            "Interval over images: delete-group jackknife of the effect itself, paired over noise "
            "and classes within each seed."
        )
    most = int(effects.seeds.max())
    if most >= 3:
        notes.append(
            "Interval over seeds: 95 % t interval of the effect in each seed; where there are both "
            "intervals the wider one is shown."
        )
    else:
        notes.append(f"{most} seed{'s' * (most > 1)}: no interval over seeds (three are needed).")
    plain = [f"the {header}" for name, header in _OF_OUTPUTS.items() if name in kinds]
    if plain:
        notes.append(
            f"No jackknife replicates of {' and '.join(plain)}: intervals are over seeds alone."
        )
    if "fd" not in kinds:
        notes.append("No feature network: there is no Fréchet distance to compare.")
    notes.append(
        "Each interval is by itself: of twenty effects that are nothing, one is expected to miss "
        "nothing by chance. Main effects and interactions as deviations from the grand mean are in "
        "effects.csv."
    )
    return notes


def shown_effect(value: float, low: float, high: float, log: bool) -> str:
    """``x1.80 [1.62, 2.01]``, or ``+0.20 [+0.10, +0.30]``; empty where it was not estimated."""
    if math.isnan(value):
        return ""
    form = ".3g" if log else "+.3g"
    interval = "" if math.isnan(low) else f" [{low:{form}}, {high:{form}}]"
    return f"{'x' if log else ''}{value:{form}}{interval}"


def _block(cells: Cells, records: Sequence[JobRecord], columns: tuple[Column, ...]) -> Block:
    means = [row for block in summary(records).blocks for row in block.rows]
    paired = {str(row["job"]): row["fd_delta_ci"] for row in leaderboard(records).rows}
    halves = {job: half for job, half in paired.items() if isinstance(half, float)}
    known = {(str(row["method"]), str(row["budget"])): row for row in means}
    factors = tuple(cells[0][0])
    rows = [
        _row(row, dict.fromkeys(factors, ""), records, columns, halves)
        for (method, _), row in known.items()
        if method == FULL_METHOD
    ]
    for budget in dict.fromkeys(r.budget for r in records if not r.is_full_precision):
        rows += [
            _row(known[method, budget], levels, records, columns, halves)
            for levels, method in cells
            if (method, budget) in known
        ]
    done = [record for record in records if record.status == "done"]
    one = (done or list(records))[0]
    extractor = done[0].extractor if done else None
    return Block(
        one.model, one.metric_fingerprint or "", extractor, adapt(columns, rows, extractor),
        tuple(rows), _notes(done, extractor),
    )  # fmt: skip


def _row(
    mean: Row,
    levels: Mapping[str, str],
    records: Iterable[JobRecord],
    columns: Iterable[Column],
    paired: Mapping[str, float],
) -> dict[str, Value]:
    row: dict[str, Value] = {column.name: mean.get(column.name) for column in columns}
    row |= levels
    own = [
        r for r in records
        if (r.method, r.budget, r.status) == (mean["method"], mean["budget"], "done")
    ]  # fmt: skip
    for name in _OF_IMAGES:
        scores: list[Any] = [dict(r.scores).get(name) for r in own]  # type: ignore[call-overload]
        row[f"{name}_ci"] = _mean_half([score and score.ci for score in scores])
    row["fd_delta_ci"] = _mean_half([paired.get(record.job) for record in own])
    return row


def _mean_half(halves: Sequence[float | None]) -> float | None:
    """Half-width of a mean of independent values, ``None`` where one of them has none."""
    known = [half for half in halves if half is not None]
    whole = bool(halves) and len(known) == len(halves)
    return math.sqrt(sum(half**2 for half in known)) / len(known) if whole else None


def _notes(done: Sequence[JobRecord], extractor: str | None) -> tuple[str, ...]:
    if not done:
        return ("No job of this ablation is done.",)
    notes = [
        f"Means over the seeds that are done; each has {done[0].n_images:,} images and "
        f"{done[0].protocol['calibration']} held-out inputs of its own.",
        "± of errors of outputs: standard deviation over seeds.",
    ]
    if any("fd" in record.scores for record in done):
        fd = frechet_names(extractor)[0]
        notes.append(
            f"± of {fd} and of other scores of images: half-width of the 95 % interval over "
            "images. It does not hold for differences of rows, which are paired: that of "
            f"Δ{fd} is the interval of the paired difference to full precision."
        )
    return tuple(notes)


def _effect_rows(part: pd.DataFrame, log: bool) -> list[str]:
    lines = [
        "| change | effect | interval over | seeds | note |",
        "| --- | ---: | --- | ---: | --- |",
    ]
    for row in part.to_dict("records"):
        change = change_of(row)
        shown = shown_effect(row["effect"], row["low"], row["high"], log)
        cells = [change, shown, row["interval"], str(row["seeds"]), row["reason"]]
        lines.append(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |")
    return lines


def change_of(row: Mapping[Any, Any]) -> str:
    """``searcher: tss → ilp``, two of them joined by ``and`` for an interaction."""
    changes = [f"{row['factor']}: {row['versus']} → {row['level']}"]
    if row["factor_2"]:
        changes.append(f"{row['factor_2']}: {row['versus_2']} → {row['level_2']}")
    return " and ".join(changes)
