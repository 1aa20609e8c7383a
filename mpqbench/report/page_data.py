"""What a page of results is made of: one data frame for each file or set of records."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..core.errors import BenchError
from ..records.frame import paired, records_frame
from ..records.schema import FULL_METHOD, JobRecord
from ..records.statistics import mean_half_width
from ..records.store import RecordStore
from .notes import notes

RECORDS = "records"
UNITS = {
    "gbitops": ("bitops", 1e-9),
    "mb": ("bytes", 1e-6),
    "output_error": ("output_mse", 1e3),
    "noise_error": ("noise_mse", 1e3),
}
_CELL = ["method", "budget", "metric_fingerprint", "seed"]
Rival = str | dict[str, str] | None  # of every method, or of each one by name


def read_frame(folder: Path, source: str, against: Rival = None) -> pd.DataFrame:
    """Return a CSV file of ``folder``, or with ``source="records"`` a row for each job.

    Records have the columns of ``records_frame`` and others. ``fd_delta`` is the paired difference
    of FD to full precision, ``less`` that to the rival, ``*_ci`` are half-widths of 95 % intervals.
    Raises BenchError if ``folder`` has no such file or no records.
    """
    if source == RECORDS:
        frame = _job_frame(folder, against)
    elif (path := folder / source).is_file():
        frame = pd.read_csv(path)
    else:
        raise BenchError(f"{folder / 'about.md'} names {source}, which is not in {folder}")
    known = {name: own for name, own in UNITS.items() if own[0] in frame}
    return frame.assign(**{name: factor * frame[own] for name, (own, factor) in known.items()})


def read_records(folder: Path) -> list[list[JobRecord]]:
    """Return the records of ``folder`` and of those in it. Raises BenchError if there are none."""
    folders = sorted(path.parent for path in folder.rglob(RECORDS) if path.is_dir())
    batches = [batch for each in folders if (batch := RecordStore(each).read_all())]
    if not batches:
        raise BenchError(f"{folder} has no records")
    return batches


def _job_frame(folder: Path, against: Rival) -> pd.DataFrame:
    frame = pd.concat([records_frame(own) for own in read_records(folder)], ignore_index=True)
    methods = frame["method"]
    rivals = methods.map(against) if isinstance(against, dict) else against
    full = frame.assign(method=FULL_METHOD, budget="FP")
    indexed = frame.drop_duplicates(_CELL, keep="last").set_index(_CELL)
    for name, wanted in (("fd_delta", full), ("less", frame.assign(method=rivals))):
        found = paired(wanted, indexed).where(wanted["method"] != methods)
        frame[name], frame[f"{name}_ci"] = found["delta"], found["ci"]
    branches = frame["recipe"].map(lambda recipe: (recipe.get("branch") or {}).get("name"))
    counts = frame.pop("counts")
    frame["groups_at_w2"] = _count(counts, lambda precision: precision.startswith("W2"))
    branched = _count(counts, lambda precision: not precision.endswith("-"))
    frame["groups_with_branch"] = branched.where(~branches.isin(["none", None]))
    frame["calibration"] = frame["protocol"].map(lambda protocol: protocol.get("calibration"))
    return frame.merge(_training_curves(folder), how="left", on="job")


def _count(counts: pd.Series, chosen: Callable[[str], bool]) -> pd.Series:
    def total(own: dict[str, int]) -> int:
        return sum(n for precision, n in own.items() if chosen(precision))

    return counts.map(total, na_action="ignore")


def _training_curves(folder: Path) -> pd.DataFrame:
    """Return the held-out loss of each trained job: before, at its least, and the last step."""
    rows = []
    for path in sorted(folder.glob("traces/*.tuning.parquet")):
        curve = pd.read_parquet(path)
        loss = curve["held_out_loss"]
        job = path.name.removesuffix(".tuning.parquet")
        rows.append([job, loss.iloc[0], loss.min(), curve["step"].iloc[-1]])
    return pd.DataFrame(rows, columns=["job", "loss_before", "loss_least", "steps"])


def grouped(frame: pd.DataFrame, by: list[str], geometric: bool = False) -> pd.DataFrame:
    """Return the mean of every number over the rows that are alike in ``by``, in their order.

    ``*_ci`` become ``mean_half_width``. With ``geometric`` means are geometric, of the columns
    whose numbers are all positive.
    """
    numbers = frame.select_dtypes("number").drop(columns=by, errors="ignore").astype("float64")
    keys = [frame[name] for name in by]
    if geometric:
        logs = numbers.loc[:, (numbers > 0).all()].map(np.log)
        return logs.groupby(keys, sort=False).mean().map(np.exp).reset_index()
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
        if not record.is_full_precision:
            formats.setdefault(_formats(record.recipe), {})[f"`{record.method}`"] = None
    return notes(
        "measured", records=records, done=done, protocol=done[0].protocol, formats=formats,
        images=[f"{count:,}" for count in sorted({record.n_images for record in done})],
        seeds=sorted({record.seed for record in done}),
        torch=sorted({record.provenance.torch for record in done if record.provenance.torch}),
    )  # fmt: skip


def _formats(recipe: Mapping[str, Any]) -> str:
    weight, activation = recipe["weight_format"], recipe["activation_format"]
    groups, bits = activation.get("time_groups", 1), recipe.get("attention_bits")
    facts = {"weight": weight, "activation": activation, "time_groups": groups, "bits": bits}
    return notes("formats", **facts)[0]
