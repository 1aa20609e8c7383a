"""Mean and spread over seeds: one row per model, method and budget."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ..records.schema import JobRecord
from .columns import SUMMARY, Row, Value, adapt
from .notes import summary_notes
from .table import Block, Table, leaderboard

_KEYS = ("model", "method", "budget", "extractor", "n_images", "metric_fingerprint")


def has_several_seeds(records: Iterable[JobRecord]) -> bool:
    """Whether a summary over seeds says more than the leaderboard."""
    return len({record.seed for record in records}) > 1


def summary(records: Iterable[JobRecord]) -> Table:
    """Mean over seeds and standard deviation (ddof = 1; none for one seed) of every score.

    Costs and seconds are means. A row counts its ``seeds`` and ``seeds_done`` and is ``done`` only
    if all of them are; otherwise it keeps the first other status, its reason, and no rank.
    Raises BenchError like ``leaderboard``.
    """
    records = list(records)
    by_job = {record.job: record for record in records}
    blocks = []
    for block in leaderboard(records).blocks:
        groups: dict[tuple[Value, Value], list[Row]] = defaultdict(list)
        for row in block.rows:
            groups[row["method"], row["budget"]].append(row)
        means = [_mean_row(rows) for rows in groups.values()]
        ranks = _ranks(means, {key for key, rows in groups.items() if _ranked(rows)})
        rows = [row | {"rank": ranks.get((row["method"], row["budget"]))} for row in means]
        # Within a budget by rank; the budgets keep the order of the leaderboard.
        place = {budget: i for i, budget in enumerate(dict.fromkeys(r["budget"] for r in rows))}
        rows.sort(
            key=lambda row: (row["status"] != "done", place[row["budget"]], _rank_or_last(row))
        )
        done = [by_job[str(row["job"])] for row in block.rows if row["status"] == "done"]
        blocks.append(
            Block(
                block.model, block.metric_fingerprint, block.extractor,
                adapt(SUMMARY, rows, block.extractor), tuple(rows),
                summary_notes(done, block.extractor),
            )
        )  # fmt: skip
    return Table(tuple(blocks), SUMMARY)


def _rank_or_last(row: Row) -> float:
    rank = row["rank"]
    return float(rank) if isinstance(rank, int) else math.inf


def _mean_row(rows: Sequence[Row]) -> dict[str, Value]:
    done = [row for row in rows if row["status"] == "done"]
    others = [row for row in rows if row["status"] != "done"]
    first = (done or others)[0]
    result: dict[str, Value] = {name: first[name] for name in _KEYS}
    result |= {"seeds": len(rows), "seeds_done": len(done)}
    result |= {"status": "done", "reason": ""}
    kept = [row["satisfied"] for row in done if row["satisfied"] is not None]
    result["satisfied"] = all(kept) if kept else None
    if others:
        seed, reason = others[0]["seed"], others[0]["reason"]
        result |= {"status": others[0]["status"], "reason": f"seed {seed}: {reason}"}
    for column in SUMMARY:
        if column.role == "score":
            values = _numbers(done, column.name)
            if len(values) < len(done):  # a mean of some seeds beside means of all would mislead
                values = []
            result[column.name] = statistics.fmean(values) if values else None
            result[f"{column.name}_std"] = statistics.stdev(values) if len(values) > 1 else None
        elif column.role == "cost":
            values = _numbers(done, column.name)
            result[column.name] = statistics.fmean(values) if values else None
    return result


def _numbers(rows: Iterable[Row], name: str) -> list[float]:
    return [value for row in rows if isinstance(value := row[name], int | float)]


def _ranked(rows: Sequence[Row]) -> bool:
    """Whether every seed of this method and budget has a rank of its own."""
    return all(row["rank"] is not None for row in rows)


def _ranks(
    means: Sequence[Row], ranked: set[tuple[Value, Value]]
) -> Mapping[tuple[Value, Value], int]:
    values: dict[Value, list[float]] = defaultdict(list)
    for row in means:
        if (row["method"], row["budget"]) in ranked:
            values[row["budget"]] += _numbers([row], "fd")
    return {
        (row["method"], row["budget"]): 1 + sorted(values[row["budget"]]).index(float(fd))
        for row in means
        if (row["method"], row["budget"]) in ranked and isinstance(fd := row["fd"], int | float)
    }
