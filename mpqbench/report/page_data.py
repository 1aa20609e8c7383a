"""What a page of results is made of: one data frame for each file or set of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..core.errors import BenchError
from ..records.schema import FULL_METHOD, JobRecord
from ..records.statistics import paired_difference
from ..records.store import RecordStore

RECORDS = "records"
UNITS = {
    "gbitops": ("bitops", 1e-9),
    "mb": ("bytes", 1e-6),
    "output_error": ("output_mse", 1e3),
    "noise_error": ("noise_mse", 1e3),
}


def read_frame(
    folder: Path, source: str, against: str | Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return a CSV file of ``folder``, or with ``source="records"`` a row for each job.

    ``against`` is the rival of every method, or of each one by name. Raises BenchError if
    ``folder`` has no such file or no records.
    """
    if source == RECORDS:
        frame = record_frame(read_records(folder), against)
        frame = frame.merge(_training_curves(folder), how="left", on="job")
    else:
        path = folder / source
        if not path.is_file():
            raise BenchError(f"{folder / 'about.md'} names {source}, which is not in {folder}")
        frame = pd.read_csv(path)
    for name, (column, factor) in UNITS.items():
        if column in frame:
            frame[name] = factor * frame[column]
    return frame


def read_records(folder: Path) -> list[JobRecord]:
    """Return the records of ``folder`` and of the folders in it.

    Raises BenchError if there are none.
    """
    folders = sorted(path.parent for path in folder.rglob(RECORDS) if path.is_dir())
    records = [record for each in folders for record in RecordStore(each).read_all()]
    if not records:
        raise BenchError(f"{folder} has no records")
    return records


def record_frame(
    records: Sequence[JobRecord], against: str | Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return a row for each job: its scores, costs, allocation and paired differences of FD.

    ``fd_delta`` is the difference to full precision, ``less`` that to the rival of ``against``
    with the same model, budget, seed and metric; ``*_ci`` are half-widths of 95 % intervals.
    """
    cells = {_cell(record, record.method, record.budget): record for record in records}
    rows = []
    for record in records:
        rival = against.get(record.method) if isinstance(against, Mapping) else against
        row = _row(record)
        row |= _paired("fd_delta", record, cells.get(_cell(record, FULL_METHOD, "FP")))
        if rival:
            row |= _paired("less", record, cells.get(_cell(record, rival, record.budget)))
        rows.append(row)
    return pd.DataFrame(rows)


def _cell(record: JobRecord, method: str, budget: str) -> tuple[str, str, str | None, int]:
    return method, budget, record.metric_fingerprint, record.seed


def _row(record: JobRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "job": record.job,
        "method": record.method,
        "budget": record.budget,
        "seed": record.seed,
        "status": record.status,
        "calibration": record.protocol.get("calibration"),
        "search_evals": record.search_evals,
        "seconds": sum(record.seconds.values()),
    }
    for name, score in record.scores.items():
        row |= {name: score.value, f"{name}_ci": np.nan if score.ci is None else score.ci}
    if record.costs:
        row |= record.costs.model_dump()
    if record.allocation:
        counts = record.allocation.counts.items()
        row["groups_at_w2"] = sum(n for precision, n in counts if precision.startswith("W2"))
        if (record.recipe.get("branch") or {}).get("name", "none") != "none":
            row["groups_with_branch"] = sum(n for text, n in counts if not text.endswith("-"))
    return row


def _paired(name: str, record: JobRecord, other: JobRecord | None) -> dict[str, float]:
    if other is None or other is record or not {"fd"} <= record.scores.keys() & other.scores.keys():
        return {}
    difference, half = paired_difference(record.scores["fd"], other.scores["fd"])
    return {name: difference, f"{name}_ci": np.nan if half is None else half}


def _training_curves(folder: Path) -> pd.DataFrame:
    """Return the held-out loss of each trained job: before, at its least, and the last step."""
    rows = []
    for path in sorted(folder.glob("traces/*.tuning.parquet")):
        curve = pd.read_parquet(path)
        loss = curve.held_out_loss
        row = {"loss_before": loss.iloc[0], "loss_least": loss.min(), "steps": curve.step.iloc[-1]}
        rows.append({"job": path.name.removesuffix(".tuning.parquet"), **row})
    return pd.DataFrame(rows, columns=["job", "loss_before", "loss_least", "steps"])


def grouped(frame: pd.DataFrame, by: list[str], geometric: bool = False) -> pd.DataFrame:
    """Return the mean of every number over the rows that are alike in ``by``, in their order.

    Half-widths of intervals (``*_ci``) are those of the mean of independent rows,
    ``sqrt(sum h^2) / n``. With ``geometric`` means are geometric,
    and of those columns alone whose numbers are positive.
    """
    numbers = frame.select_dtypes("number").drop(columns=by, errors="ignore")
    names = [str(name) for name in numbers]
    groups = numbers.groupby([frame[name] for name in by], sort=False, dropna=False)
    if geometric:
        positive = [name for name in names if (numbers[name] > 0).all()]
        logs = numbers[positive].transform(np.log).groupby([frame[name] for name in by], sort=False)
        return logs.mean().transform(np.exp).reset_index()
    means = groups.mean()
    for name in names:
        if name.endswith("_ci"):
            squares = groups[name].agg(lambda half: float(np.square(half).sum(skipna=False)))
            means[name] = np.sqrt(squares) / groups[name].size()
    return means.reset_index()


def measured(records: Sequence[JobRecord]) -> list[str]:
    """Return one line of Markdown for each thing a reader has to know: protocol and formats."""
    done = [record for record in records if record.status == "done"]
    first = done[0]
    images = sorted({record.n_images for record in done})
    seeds = sorted({record.seed for record in done})
    protocol = first.protocol
    lines = [
        f"Model: `{first.model}`. Each job: {' or '.join(f'{n:,}' for n in images)} images, "
        f"{protocol['sampler'].upper()} with {protocol['steps']} steps, guidance "
        f"{protocol['guidance']}; seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}."
    ]
    torch = sorted({record.provenance.torch for record in done if record.provenance.torch})
    lines.append(f"Records: {len(records)} jobs, made with PyTorch {', '.join(torch)}.")
    formats: dict[str, list[str]] = {}
    for record in done:
        if not record.is_full_precision:
            methods = formats.setdefault(_formats(record.recipe), [])
            if record.method not in methods:
                methods.append(record.method)
    if len(formats) == 1:
        lines.append(f"Formats of all methods: {next(iter(formats))}.")
    else:
        for text, methods in formats.items():
            lines.append(f"Formats of {', '.join(f'`{name}`' for name in methods)}: {text}.")
        lines.append("Methods with different formats are not on equal terms.")
    return lines


def _formats(recipe: Mapping[str, Any]) -> str:
    weight, activation = recipe["weight_format"], recipe["activation_format"]
    granularity = activation["granularity"]
    texts = {
        "token": "per token",
        "token-group": f"per token and {activation['group']} channels",
        "tensor": "per tensor, static",
    }
    if activation.get("time_groups", 1) > 1:
        texts["tensor"] += f", {activation['time_groups']} parts of the time axis"
    rows = f"in groups of {weight['group']}" if weight["group"] else f"per {weight['granularity']}"
    kinds = ["symmetric" if each["symmetric"] else "asymmetric" for each in (weight, activation)]
    text = f"weights {rows} ({kinds[0]}), activations {texts[granularity]} ({kinds[1]})"
    bits = recipe.get("attention_bits")
    return f"{text}, attention products at {bits} bits" if bits else text
