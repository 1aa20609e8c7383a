"""The leaderboard and its summary over seeds: rows, their order, pairs, ranks and ties."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from ..core.errors import BenchError
from ..core.settings import digest_of
from ..records.columns import LEADERBOARD, SUMMARY, Column, adapt
from ..records.frame import CONDITION, paired, records_frame, rows_of, seed_means
from ..records.schema import JobRecord
from .notes import table_notes

NEAR_FULL, NEAR_BEST = "≈FP", "≈best"
RIVALS = ["budget", "seed"]  # rows of a block that are ranked against each other share these


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that may be compared: one model under one metric fingerprint.

    ``frame`` has the table's columns and others; ``columns`` have the headers and units for these
    rows; ``notes`` are sentences that a reader must know; ``name`` is a part of file names.
    """

    model: str
    metric_fingerprint: str
    extractor: str | None
    columns: tuple[Column, ...]
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    name: str = ""

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries, ``None`` for what is missing."""
        return rows_of(self.frame)

    @property
    def done(self) -> pd.DataFrame:
        """The rows of jobs that are done."""
        return self.frame[self.frame["status"] == "done"]

    def column(self, name: str) -> Column:
        """The column called ``name``."""
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True, eq=False)
class Table:
    """Blocks in order; ``columns`` are those of the CSV file."""

    blocks: tuple[Block, ...]
    columns: tuple[Column, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """All rows of all blocks, with the table's columns."""
        names = [column.name for column in self.columns]
        parts = [block.frame[names] for block in self.blocks if len(block.frame)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries, ``None`` for what is missing."""
        return rows_of(self.frame)


def leaderboard(records: Iterable[JobRecord]) -> Table:
    """Return one row for each record; the order of ``records`` does not matter.

    Blocks are sorted by model and metric fingerprint. Within a block: full precision, then budgets
    by descending bits, then seed, rank and method; rows that are not ``done`` come last. Raises
    BenchError for two records of one job, and if one metric fingerprint names two extractors.
    """
    frame = records_frame(records)
    frame = frame.assign(home=_homes(frame))
    parts = _file_parts(frame["model"].unique())
    homes = frame.groupby("model")["home"].nunique().to_dict()
    blocks = []
    for key, rows in frame.groupby(["model", "home"]):
        model = str(key[0])
        suffix = f"-{key[1] or 'not-measured'}" if homes[model] > 1 else ""
        blocks.append(_block(key, rows, parts[model] + suffix))
    return Table(tuple(blocks), LEADERBOARD)


def summary(records: Iterable[JobRecord]) -> Table:
    """Return means over seeds of scores and costs, with standard deviations of scores.

    A row is ``done`` only if all of its seeds are; otherwise it has no rank.
    """
    return Table(tuple(_summary(block) for block in leaderboard(records).blocks), SUMMARY)


def tables_of(records: Sequence[JobRecord]) -> dict[str, Table]:
    """Return the ``leaderboard`` and, if the records have several seeds, the ``summary``."""
    tables = {"leaderboard": leaderboard(records)}
    if len({record.seed for record in records}) > 1:
        tables["summary"] = summary(records)
    return tables


def file_part(model: str) -> str:
    """Return the name of a model as a part of file names."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", model)[-100:].strip("-.") or "model"


def _file_parts(models: Iterable[str]) -> dict[str, str]:
    """Return the ``file_part`` of every model, with a digest where two models share one.

    Names are compared without case, as some file systems do.
    """
    parts = {model: file_part(model) for model in sorted(models)}
    shared = Counter(part.lower() for part in parts.values())
    return {
        model: f"{part}-{digest_of(model)[:6]}" if shared[part.lower()] > 1 else part
        for model, part in parts.items()
    }


def _homes(frame: pd.DataFrame) -> pd.Series:
    """Return the metric fingerprint of the block of every row.

    A job that failed before its protocol was digested joins the only block of its model, or block
    ``""`` if there are several or none.
    """
    known = frame.groupby("model")["metric_fingerprint"].agg(["nunique", "first"])
    only = known["first"].where(known["nunique"] == 1)
    return frame["metric_fingerprint"].fillna(frame["model"].map(only)).fillna("")


def _block(key: Any, frame: pd.DataFrame, name: str) -> Block:
    model, fingerprint = key
    extractors = sorted(frame.loc[frame["is_done"], "extractor"].dropna().unique())
    if len(extractors) > 1:
        names = f"metric fingerprint {fingerprint} of model '{model}' names the extractors"
        raise BenchError(f"{names} {', '.join(extractors)}: measure these jobs again")
    extractor = extractors[0] if extractors else None
    frame = _compared(frame).assign(failed=~frame["is_done"], other=~frame["is_full"])
    frame = frame.sort_values(
        ["failed", "other", "bits", "budget", "seed", "rank", "method", "job"],
        ascending=[True, True, False, True, True, True, True, True],
    ).reset_index(drop=True)
    notes = table_notes("leaderboard", frame[frame["is_done"]], extractor, over_seeds=False)
    columns = adapt(LEADERBOARD, frame, extractor)
    return Block(model, fingerprint, extractor, columns, frame, notes, name)


def _compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Add ``rank``, ``fd_delta`` with its interval, and ``ties``: intervals that contain 0."""
    done = frame[frame["is_done"] & frame["fd"].notna()]
    rivals = done[~done["is_full"] & done["satisfied"].fillna(False).astype(bool)]
    ranks = rivals.groupby(RIVALS)["fd"].rank(method="min").astype("Int64")
    best = rivals.sort_values(["fd", "method", "job"]).groupby(RIVALS).head(1)
    measured = done[~done["is_full"]]
    full = done[done["is_full"]].drop_duplicates("seed", keep="last").set_index("seed")
    to_full = paired(measured, full)
    others = measured[measured.index.isin(ranks.index) & ~measured.index.isin(best.index)]
    to_best = paired(others, best.set_index(RIVALS))
    marks = pd.DataFrame({NEAR_FULL: _is_tie(to_full), NEAR_BEST: _is_tie(to_best)})
    ties = [" ".join(marks.columns[row == 1]) for row in marks.to_numpy()]
    return frame.assign(
        rank=ranks,
        fd_delta=to_full["delta"],
        fd_delta_ci=to_full["ci"],
        ties=pd.Series(ties, marks.index, "object").reindex(frame.index).fillna(""),
    )


def _is_tie(differences: pd.DataFrame) -> pd.Series:
    return (differences["delta"].abs() <= differences["ci"]).astype("float64")


def _summary(block: Block) -> Block:
    scores, costs = ([c.name for c in SUMMARY if c.role == role] for role in ("score", "cost"))
    ranks = block.frame.groupby(CONDITION, sort=False)["rank"]
    means = seed_means(block.frame, scores, costs)
    whole = means[(ranks.count() == ranks.size()).to_numpy()]
    places = whole.groupby("budget")["fd"].rank(method="min")
    means["rank"] = places.reindex(means.index).astype("Int64")
    means["failed"] = means["status"] != "done"
    means["place"] = pd.factorize(means["budget"])[0]
    means = means.sort_values(["failed", "place", "rank"], kind="stable", ignore_index=True)
    columns = adapt(SUMMARY, means, block.extractor)
    notes = table_notes("leaderboard", block.done, block.extractor, over_seeds=True)
    return replace(block, columns=columns, frame=means, notes=notes)
