"""The leaderboard and its summary over seeds: rows, their order, pairs, ranks and ties."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from ..core.errors import BenchError
from ..core.formats import OWN
from ..core.settings import digest_of
from ..records.columns import SUMMARY, Column, adapt, leaderboard_columns
from ..records.environment import COMMITTED
from ..records.frame import ALIKE, records_frame, rows_of, seed_means
from ..records.realizations import realization_means
from ..records.schema import JobRecord
from .compare import RIVALS, compared
from .notes import notes as sentences
from .notes import table_notes

_LONGEST = 80  # letters of a model in names of files
_ENVIRONMENTS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that may be compared: one model under one metric fingerprint.

    ``frame`` has the table's columns and others; ``columns`` have the headers and units for these
    rows; ``notes`` are sentences that a reader must know, ``unpaired`` those of them on rows that
    have no pair; ``name`` is a part of file names.
    """

    model: str
    metric_fingerprint: str
    extractor: str | None
    columns: tuple[Column, ...]
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    name: str = ""
    unpaired: tuple[str, ...] = ()

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
    """Blocks in order; ``columns`` are those of the CSV file, ``notes`` are of no single block."""

    blocks: tuple[Block, ...]
    columns: tuple[Column, ...]
    notes: tuple[str, ...] = ()

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


def leaderboard(records: Iterable[JobRecord], highlight: str | None = None) -> Table:
    """Return one row for each record, or the mean of all realizations of one method and seed.

    The order of ``records`` does not matter. The method ``highlight`` is nobody's baseline.

    Blocks are sorted by model and metric fingerprint. Within a block: full precision, then budgets
    by descending bits, then seed, rank and method; rows that are not ``done`` come last. Raises
    BenchError for two records of one job, and if one metric fingerprint names two extractors.
    """
    frame = records_frame(records)
    frame = realization_means(frame.assign(home=_homes(frame)))
    groups = list(frame.groupby(["model", "home"]))
    blocks = zip(_block_names([key for key, _ in groups]), groups, strict=True)
    made = tuple(_block(key, rows, name, highlight) for name, (key, rows) in blocks)
    return Table(made, leaderboard_columns(frame))


def summary(records: Iterable[JobRecord], highlight: str | None = None) -> Table:
    """Return means over seeds of scores and costs, with standard deviations of scores.

    A row is ``done`` only if all of its seeds are; otherwise it has no rank.
    """
    return _summarized(leaderboard(records, highlight))


def _summarized(table: Table) -> Table:
    return Table(tuple(_summary(block) for block in table.blocks), SUMMARY)


def tables_of(
    records: Sequence[JobRecord], left_out: Sequence[str] = (), highlight: str | None = None
) -> dict[str, Table]:
    """Return the ``leaderboard`` and, if the records have several seeds, the ``summary``.

    ``left_out`` are sentences on records of the folder that are not in the tables; ``highlight`` is
    as in ``leaderboard``.
    """
    tables = {"leaderboard": leaderboard(records, highlight)}
    if len({record.seed for record in records}) > 1:
        tables["summary"] = _summarized(tables["leaderboard"])
    return {name: replace(table, notes=tuple(left_out)) for name, table in tables.items()}


def file_part(model: str) -> str:
    """Return the name of a model as a part of file names; a long one ends in its digest."""
    name = re.sub(r"[^A-Za-z0-9._]+", "-", model).strip("-.") or "model"
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{digest_of(model)[:6]}"


def _block_names(keys: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return a name for every (model, metric fingerprint), unlike even where case is ignored."""
    short = [file_part(str(model)) for model, _ in keys]
    for make in (lambda key: str(key[1] or "not-measured"), lambda key: digest_of(list(key))[:6]):
        counts = Counter(name.lower() for name in short)
        pairs = zip(short, keys, strict=True)
        short = [f"{n}-{make(key)}" if counts[n.lower()] > 1 else n for n, key in pairs]
    return short


def _homes(frame: pd.DataFrame) -> pd.Series:
    """Return the metric fingerprint of the block of every row.

    A job that failed before its protocol was digested joins the only block of its model, or block
    ``""`` if there are several or none.
    """
    known = frame.groupby("model")["metric_fingerprint"].agg(["nunique", "first"])
    only = known["first"].where(known["nunique"] == 1)
    return frame["metric_fingerprint"].fillna(frame["model"].map(only)).fillna("")


def _block(key: Any, frame: pd.DataFrame, name: str, highlight: str | None) -> Block:
    model, fingerprint = key
    extractors = sorted(frame.loc[frame["is_done"], "extractor"].dropna().unique())
    if len(extractors) > 1:
        names = f"metric fingerprint {fingerprint} of model '{model}' names the extractors"
        raise BenchError(f"{names} {', '.join(extractors)}: measure these jobs again")
    extractor = extractors[0] if extractors else None
    frame, references = compared(frame, highlight)
    frame = frame.assign(failed=~frame["is_done"], other=~frame["is_full"])
    frame["notes"] = frame["notes"].map("; ".join)
    frame = frame.sort_values(
        ["failed", "other", "bits", *RIVALS, "rank", "method", "job"],
        ascending=[True, True, False, *[True] * 6],
    ).reset_index(drop=True)
    frame["environment"] = [where.text() for where in frame["measured_on"]]
    frame["mark"], mixed = _marks(frame)
    notes = table_notes(
        "leaderboard", frame[frame["is_done"]], extractor, over_seeds=False, highlight=highlight,
        references=references,
    )  # fmt: skip
    lost = rows_of(frame[frame["is_full"] & frame["failed"]])
    unpaired = sentences("unpaired", lost=lost, environments=mixed)
    columns = adapt(leaderboard_columns(frame), frame, extractor)
    return Block(model, fingerprint, extractor, columns, frame, notes + unpaired, name, unpaired)


def _marks(frame: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """Return a letter for each row where they come from several environments, and what it means."""
    where = frame["measured_on"]
    threads = {row.threads for row, done in zip(where, frame["is_done"], strict=True) if done}
    texts = [row.text(with_threads=len(threads - {None}) > 1) for row in where]
    commits = [
        f" as {commit}" if row.sources == COMMITTED else ""
        for row, commit in zip(where, frame["commit"], strict=True)
    ]
    texts = [text + commit for text, commit in zip(texts, commits, strict=True)]
    every = list(dict.fromkeys(t for t, done in zip(texts, frame["is_done"], strict=True) if done))
    if len(every) < 2:
        return [""] * len(frame), {}
    letters = {text: letter_of(at) for at, text in enumerate(every)}
    return [letters.get(text, "") for text in texts], {v: k for k, v in letters.items()}


def letter_of(at: int) -> str:
    """Return the mark of an environment: A to Z, then A2."""
    rounds, letter = divmod(at, len(_ENVIRONMENTS))
    return _ENVIRONMENTS[letter] + (str(rounds + 1) if rounds else "")


def _summary(block: Block) -> Block:
    scores, costs = ([c.name for c in SUMMARY if c.role == role] for role in ("score", "cost"))
    costs.append("hypervolume")  # a mean, too
    groups = block.frame.groupby(ALIKE, sort=False)
    ranks = groups["rank"]
    means = seed_means(block.frame, scores, costs)
    for name, separator in (("mark", ""), ("remark", "; "), ("notes", "; "), ("environment", "; ")):
        texts = groups[name].agg(lambda part: [text for text in dict.fromkeys(part) if text])
        means[name] = texts.map(separator.join).to_numpy()
    whole = means[(ranks.count() == ranks.size()).to_numpy()]
    whole = whole[whole["format"].ne(OWN)]
    places = whole.groupby(["budget", "format"])["fd"].rank(method="min")
    means["rank"] = places.reindex(means.index).astype("Int64")
    means["failed"] = means["status"] != "done"
    means["place"] = pd.factorize(means["budget"])[0]
    means = means.sort_values(
        ["failed", "place", "format", "rank"], kind="stable", ignore_index=True
    )
    columns = adapt(SUMMARY, means, block.extractor)
    notes = table_notes("leaderboard", block.done, block.extractor, over_seeds=True)
    notes += block.unpaired
    return replace(block, columns=columns, frame=means, notes=notes)
