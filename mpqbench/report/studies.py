"""Tables of the studies: searchers side by side, and how well every proxy ranks. Pure functions."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..records.schema import JobRecord
from .columns import Column, Row, Value, frechet_names
from .table import Block, Table, paired_difference

RIVALS = ("uniform", "ilp")  # what every searcher is compared with, seed by seed

SEARCHERS = (
    Column("model", "model", "key"),
    Column("method", "method", "key", view="brief"),
    Column("budget", "budget", "key", view="brief"),
    Column("status", "status", "text"),
    Column("reason", "reason", "text"),
    Column("seeds", "seeds", "text", form=".0f", view="full"),
    Column("output_mse", "held-out MSE (10⁻³)", "score", "lower", ".2f", 1e-3,
           interval="output_mse_std", view="brief"),
    Column("output_mse_std", "held-out MSE std", "interval"),
    Column("fd", "FD", "score", "lower", ".3f", view="brief"),
    Column("fd_delta", "ΔFD", "score", "lower", ".3f", interval="fd_delta_ci", view="brief"),
    Column("fd_delta_ci", "ΔFD ±", "interval"),
    *(
        column
        for rival in RIVALS
        for column in (
            Column(f"fd_{rival}_delta", f"FD - {rival}", "text", form=".3f",
                   interval=f"fd_{rival}_ci", view="brief"),
            Column(f"fd_{rival}_ci", f"FD - {rival} ±", "interval"),
        )
    ),
    Column("regret", "regret %", "score", "lower", ".2f", 1e-2, interval="regret_std",
           view="brief"),
    Column("regret_std", "regret std", "interval"),
    Column("search_evals", "forwards", "cost", "lower", ".0f", view="brief"),
    Column("search_seconds", "seconds", "cost", "lower", ".0f", view="brief"),
    Column("bitops_linear", "linear BitOPs", "cost", "lower"),
    Column("satisfied", "within budget", "text"),
)  # fmt: skip


def searcher_table(records: Iterable[JobRecord], regrets: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each method and budget: means over the seeds that are done.

    Differences of FD are paired over noise and classes within each seed; their interval is that of
    the mean of the seeds' jackknife intervals taken as independent, ``sqrt(sum h^2) / S``. Spreads
    are standard deviations over seeds. ``regrets`` are rows of ``study.regret.Regret``. Rows are
    in the order of FD within a budget, or of the held-out error where there is no FD, then by name.
    """
    records = list(records)
    full = {record.seed: record for record in records if record.is_full_precision}
    groups: dict[tuple[str, str], list[JobRecord]] = defaultdict(list)
    for record in records:
        groups[record.budget, record.method].append(record)
    rows = [_row(own, groups, full, regrets) for own in groups.values()]
    rows.sort(
        key=lambda row: (row["status"] != "done", str(row["budget"]), _fd(row), str(row["method"]))
    )
    first = next((record for record in records if record.status == "done"), None)
    extractor = None if first is None else first.extractor
    block = Block(
        "" if first is None else first.model,
        "" if first is None else first.metric_fingerprint or "",
        extractor,
        _named(extractor),
        tuple(rows),
        _notes(first),
    )
    return Table((block,), SEARCHERS)


def _row(
    own: Sequence[JobRecord],
    groups: Mapping[tuple[str, str], Sequence[JobRecord]],
    full: Mapping[int, JobRecord],
    regrets: Sequence[Mapping[str, Any]],
) -> dict[str, Value]:
    done = [record for record in own if record.status == "done"]
    others = [record for record in own if record.status != "done"]
    one = (done or others)[0]
    row: dict[str, Value] = dict.fromkeys((column.name for column in SEARCHERS), None)
    row |= {"model": one.model, "method": one.method, "budget": one.budget}
    row |= {"status": "done", "reason": "", "seeds": len(done)}
    if others:
        row |= {"status": others[0].status, "reason": others[0].reason}
    for name in ("output_mse", "fd"):
        values = [s.value for r in done if (s := _scores(r).get(name)) is not None]
        row |= {name: _mean(values), f"{name}_std": _spread(values)}
    row["fd_delta"], row["fd_delta_ci"] = _difference(done, full)
    for rival in RIVALS:
        theirs = {record.seed: record for record in groups.get((one.budget, rival), ())}
        if one.method != rival and not one.is_full_precision:
            row[f"fd_{rival}_delta"], row[f"fd_{rival}_ci"] = _difference(done, theirs)
    found = [
        float(r["regret"]) for r in regrets
        if r["method"] == one.method and r["budget"] == one.budget
    ]  # fmt: skip
    row |= {"regret": _mean(found), "regret_std": _spread(found)}
    row["search_evals"] = _mean([record.search_evals for record in done])
    row["search_seconds"] = _mean([record.seconds.get("search", 0.0) for record in done])
    costs = [record.costs for record in done if record.costs is not None]
    row["bitops_linear"] = _mean([cost.bitops_linear for cost in costs])
    row["satisfied"] = all(cost.satisfied for cost in costs) if costs else None
    return row


def _difference(
    own: Sequence[JobRecord], theirs: Mapping[int, JobRecord]
) -> tuple[float | None, float | None]:
    """Mean over seeds of the paired difference in FD, and its half-width."""
    pairs = [
        paired_difference(_scores(record)["fd"], _scores(other)["fd"])
        for record in own
        if (other := theirs.get(record.seed)) is not None
        and other is not record
        and "fd" in _scores(record)
        and "fd" in _scores(other)
    ]
    if not pairs:
        return None, None
    halves = [half for _, half in pairs]
    mean = statistics.fmean(delta for delta, _ in pairs)
    if any(half is None for half in halves):
        return mean, None
    return mean, math.sqrt(sum(half**2 for half in halves if half is not None)) / len(halves)


def _scores(record: JobRecord) -> Mapping[str, Any]:
    return {str(name): score for name, score in record.scores.items()}


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _fd(row: Row) -> float:
    value = row["fd"] if row["fd"] is not None else row["output_mse"]
    return float(value) if isinstance(value, int | float) else math.inf


def _named(extractor: str | None) -> tuple[Column, ...]:
    """Columns with the Fréchet headers of ``extractor``."""
    fd = frechet_names(extractor)[0]
    return tuple(replace(c, header=c.header.replace("FD", fd)) for c in SEARCHERS)


def _notes(first: JobRecord | None) -> tuple[str, ...]:
    if first is None:
        return ("No job of this study is done.",)
    images, inputs = first.n_images, first.protocol["calibration"]
    return (
        f"Means over seeds; each seed has {images:,} images, {inputs} calibration inputs and as "
        "many held-out ones of its own.",
        "Held-out MSE: output error of one forward on inputs no search has seen, ± standard "
        "deviation over seeds.",
        "Differences are paired over noise and classes, seed by seed; ± is the half-width of the "
        "95 % interval over images (delete-group jackknife).",
        "Regret: joint score above the optimum of all allocations of the last two blocks, which "
        "were all scored, in per cent of it; ± standard deviation over seeds.",
        "Forwards: evaluations spent, in forwards of the calibration set. Seconds: of the search, "
        "an additive table included whether or not another search of the run had computed it.",
    )
