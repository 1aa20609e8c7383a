"""The leaderboard as data: rows, their order, pairs, ranks and ties. A pure function of records."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import BenchError
from ..core.precision import Budget
from ..metrics.jackknife import half_width
from ..records.schema import METRICS, JobRecord, Score
from .columns import LEADERBOARD, Column, Row, Value, adapt
from .notes import leaderboard_notes

Z95 = 1.96
NEAR_FULL, NEAR_BEST = "≈FP", "≈best"
BlockKey = tuple[str, str]


@dataclass(frozen=True)
class Block:
    """Rows that may be compared: one model under one metric fingerprint.

    ``columns`` carry the headers and units fit for these rows, ``notes`` what a reader must know.
    """

    model: str
    metric_fingerprint: str
    extractor: str | None
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def column(self, name: str) -> Column:
        """The column called ``name``."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True)
class Table:
    """Blocks in order; ``columns`` is the flat data view, ``rank`` names the column that ranks."""

    blocks: tuple[Block, ...]
    columns: tuple[Column, ...]
    rank: str = "fd"

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows of all blocks."""
        return tuple(row for block in self.blocks for row in block.rows)


def leaderboard(records: Iterable[JobRecord]) -> Table:
    """One row per record; the order of ``records`` does not matter.

    Blocks are sorted by model and metric fingerprint. In a block: full precision, then budgets by
    descending BitOPs, then seed, rank and method; rows that are not ``done`` come last.
    Raises BenchError where one metric fingerprint names two extractors.
    """
    groups: dict[BlockKey, list[JobRecord]] = defaultdict(list)
    records = sorted(records, key=lambda record: record.job)
    home = _homes(records)
    for record in records:
        groups[home[record.job]].append(record)
    return Table(tuple(_block(key, groups[key]) for key in sorted(groups)), LEADERBOARD)


def paired_difference(score: Score, other: Score) -> tuple[float, float | None]:
    """``score - other`` and the half-width of its 95 % interval.

    Delete-group jackknife of the paired differences d_g, g = 1..G:
    ``1.96 sqrt((G - 1) / G sum_g (d_g - mean d)^2)`` (Efron, The Jackknife, 1982, chapter 3).
    No interval where the two do not have the same number, two or more, of replicates.
    """
    difference = score.value - other.value
    if len(score.replicates) < 2 or len(score.replicates) != len(other.replicates):
        return difference, None
    pairs = [a - b for a, b in zip(score.replicates, other.replicates, strict=True)]
    return difference, half_width(pairs)


def is_tie(difference: tuple[float, float | None]) -> bool:
    """Whether the interval is known and contains 0."""
    delta, half = difference
    return half is not None and abs(delta) <= half


def _homes(records: Sequence[JobRecord]) -> dict[str, BlockKey]:
    """Block of every job. A job that failed before its protocol was digested joins the only block
    of its model; where there are several or none, such jobs form a block of their own."""
    known: dict[str, set[str]] = defaultdict(set)
    home: dict[str, BlockKey] = {}
    for record in records:
        if record.job in home:
            raise BenchError(f"two records of job '{record.job}': give each job once")
        home[record.job] = (record.model, record.metric_fingerprint or "")
        if record.metric_fingerprint:
            known[record.model].add(record.metric_fingerprint)
    for job, (model, fingerprint) in home.items():
        if not fingerprint and len(known[model]) == 1:
            home[job] = (model, next(iter(known[model])))
    return home


def _block(key: BlockKey, records: Sequence[JobRecord]) -> Block:
    model, fingerprint = key
    done = [record for record in records if record.status == "done"]
    extractors = sorted({record.extractor for record in done if record.extractor})
    if len(extractors) > 1:
        raise BenchError(
            f"metric fingerprint {fingerprint} of model '{model}' names the extractors "
            f"{', '.join(extractors)}: measure these jobs again"
        )
    extractor = extractors[0] if extractors else None
    ranks, best = _ranks(done)
    full = {record.seed: record for record in done if record.is_full_precision}
    ordered = sorted(records, key=lambda record: _order(record, ranks))
    rows: list[Row] = []
    for record in ordered:
        winner = best.get(_rivals(record)) if record.job in ranks else None
        rows.append(
            _flat(record) | {"rank": ranks.get(record.job)}
            | _compared(record, full.get(record.seed), winner)
        )  # fmt: skip
    columns = adapt(LEADERBOARD, rows, extractor)
    return Block(
        model, fingerprint, extractor, columns, tuple(rows), leaderboard_notes(done, extractor)
    )


def _rivals(record: JobRecord) -> tuple[str, int]:
    """Rows ranked against each other in a block: same budget, same noise."""
    return record.budget, record.seed


def _ranks(
    done: Sequence[JobRecord],
) -> tuple[dict[str, int], dict[tuple[str, int], JobRecord]]:
    """Rank of every job, and the best job of every budget and seed.

    Full precision and rows over their budget have no rank; equal values share one.
    """
    rivals: dict[tuple[str, int], list[JobRecord]] = defaultdict(list)
    for record in done:
        satisfied = record.costs is not None and record.costs.satisfied
        if not record.is_full_precision and satisfied and "fd" in record.scores:
            rivals[_rivals(record)].append(record)
    ranks: dict[str, int] = {}
    for group in rivals.values():
        group.sort(key=lambda record: (record.scores["fd"].value, record.method, record.job))
        values = [record.scores["fd"].value for record in group]
        ranks |= {r.job: 1 + values.index(r.scores["fd"].value) for r in group}
    return ranks, {key: group[0] for key, group in rivals.items()}


def budget_order(record: JobRecord) -> tuple[bool, int, str]:
    """Sorts by budget: full precision first, then many bits before few."""
    bits = Budget.parse(record.budget).precision
    return not record.is_full_precision, -bits.weight_bits * bits.activation_bits, record.budget


def _order(record: JobRecord, ranks: Mapping[str, int]) -> tuple[object, ...]:
    return (
        record.status != "done",
        *budget_order(record),
        record.seed,
        ranks.get(record.job, math.inf),
        record.method,
        record.job,
    )


def _flat(record: JobRecord) -> dict[str, Value]:
    """The columns that need no other record."""
    row: dict[str, Value] = {
        name: getattr(record, name)
        for name in (
            "job", "model", "method", "budget", "seed", "status", "reason", "extractor",
            "n_images", "fingerprint", "metric_fingerprint", "search_evals", "peak_mb",
        )
    }  # fmt: skip
    scores: Mapping[str, Score] = {str(name): score for name, score in record.scores.items()}
    for name in METRICS:
        score = scores.get(name)
        row[name] = score.value if score else None
        row[f"{name}_ci"] = score.ci if score else None
    for name in (
        "bitops", "bitops_linear", "bitops_per_image", "bytes", "effective_bits", "satisfied"
    ):  # fmt: skip
        row[name] = getattr(record.costs, name) if record.costs else None
    for name in ("mean_weight_bits", "mean_activation_bits"):
        row[name] = getattr(record.allocation, name) if record.allocation else None
    row["seconds"] = math.fsum(record.seconds.values())
    return row


def _compared(
    record: JobRecord, full: JobRecord | None, best: JobRecord | None
) -> dict[str, Value]:
    """Paired difference to full precision, and the rows this one cannot be told apart from."""
    cells: dict[str, Value] = {"fd_delta": None, "fd_delta_ci": None, "ties": ""}
    if record.status != "done" or record.is_full_precision or "fd" not in record.scores:
        return cells
    ties = []
    if full is not None and "fd" in full.scores:
        difference = paired_difference(record.scores["fd"], full.scores["fd"])
        cells["fd_delta"], cells["fd_delta_ci"] = difference
        if is_tie(difference):
            ties.append(NEAR_FULL)
    if best is not None and best.job != record.job:
        difference = paired_difference(record.scores["fd"], best.scores["fd"])
        if is_tie(difference):
            ties.append(NEAR_BEST)
    return cells | {"ties": " ".join(ties)}
