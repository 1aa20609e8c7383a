"""All records of a run as one tidy DataFrame, a row for each; tables and figures select from it."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd
from pydantic import ValidationError

from ..core.errors import BenchError
from ..core.precision import Budget
from ..core.recipe import TEXTS, Recipe
from ..core.settings import digest_of
from .columns import OVERHEAD, printable
from .environment import differences, environment_of
from .schema import METRICS, AllocationSummary, Costs, JobRecord
from .statistics import (
    combined_error,
    combined_half_width,
    mean_half_width,
    p_value,
    paired_replicates,
)

_NESTED = ("schema_version", "allocation", "scores", "costs", "seconds", "files", "provenance")
_OWN = tuple(name for name in JobRecord.model_fields if name not in _NESTED)
_TEXTS = ("cost_rule", "overhead", "before")  # of costs, which are no numbers
_COSTS = (*(name for name in Costs.model_fields if name not in _TEXTS), *OVERHEAD)
_ALLOCATION = tuple(AllocationSummary.model_fields)
_FLOATS = (
    *(f"{name}{end}" for name in METRICS for end in ("", "_ci")),
    *("effective_bits", "search_evals", "peak_mb", "seconds", "search_seconds"),
    *("mean_weight_bits", "mean_activation_bits"),
)
_TYPES = dict.fromkeys(("seed", "realization", "n_images", *_COSTS), "Int64") | dict.fromkeys(
    _FLOATS, "float64"
)
_TYPES |= {"satisfied": "boolean", "is_full": "bool", "is_done": "bool", "bits": "int64"}
_CONDITIONS = ["measured_on", "model_digest", "n_images"]  # alike in rows that may be paired
CONDITION = ["method", "budget", "format"]  # what rows of different seeds are a repetition of
ALIKE = [*CONDITION, "recipe_digest"]
NO_PARTNER = "none of this seed"


def records_frame(records: Iterable[JobRecord]) -> pd.DataFrame:
    """Return one row for each record, sorted by job.

    Columns: the record's own fields; a value, ``_ci`` and ``_replicates`` (a tuple) of metrics;
    costs with ``overhead_`` of every source and the ``cost_rule``; mean bits and ``counts`` of
    precisions; ``seconds`` of all stages, ``search_seconds``;
    ``is_full``, ``is_done``, and ``bits`` of the budget (weight times activation); ``measured_on``
    (see ``environment_of``) and the ``commit``. What a record lacks is missing. Raises BenchError
    for two records of one job.
    """
    rows = sorted((_row(record) for record in records), key=lambda row: row["job"])
    names = [
        *_OWN,
        *_COSTS,
        "cost_rule",
        *_FLOATS,
        *(f"{name}_replicates" for name in METRICS),
        *_ALLOCATION,
    ]
    columns = list(dict.fromkeys([*names, "is_full", "is_done", "bits", "measured_on", "commit"]))
    frame = pd.DataFrame(rows, columns=columns).astype(_TYPES)
    twice = frame[frame["job"].duplicated()]
    if len(twice):
        raise BenchError(f"two records of job '{twice['job'].iloc[0]}': give each job once")
    return frame


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries of plain values, ``None`` for what is missing."""
    values = frame.astype(object)
    return values.where(values.notna(), None).to_dict("records")  # type: ignore[return-value]


def paired(frame: pd.DataFrame, others: pd.DataFrame, metric: str = "fd") -> pd.DataFrame:
    """Return ``delta``, half-width ``ci`` and p-value ``p`` of paired differences of ``metric``.

    A row of ``frame`` is compared with that in ``others`` whose index has the values of its columns
    of these names, and whose environment, model and number of images are its own. Without such a
    partner all are missing, and ``unpaired`` says why; ``versus`` is the partner's method, ``job``
    its job. The interval of rows of several realizations has the variance between these, too (see
    ``realizations``).
    """
    keys = list(map(str, others.index.names))
    names = [metric, f"{metric}_replicates", *_CONDITIONS, "method", "job"]
    spread = [name for name in (f"{metric}_between", "realizations") if name in frame]
    if len(spread) == 2:
        names += spread
    groups = defaultdict(list)
    labelled = [name for name in names if name not in keys]
    for rival in rows_of(others[labelled].reset_index()):
        groups[tuple(rival[key] for key in keys)].append(rival)
    found = []
    for row in rows_of(frame[list(dict.fromkeys([*keys, *names]))]):
        rivals = groups[tuple(row[key] for key in keys)]
        reasons = [unlike(row, rival) for rival in rivals]
        alike = [rival for rival, why in zip(rivals, reasons, strict=True) if not why]
        theirs, ours = (alike[-1] if alike else {}), row[f"{metric}_replicates"]
        values = row[metric], theirs.get(metric)
        delta = None if None in values else values[0] - values[1]
        half = p = None
        if delta is not None:
            between = [_between(side, metric) for side in (row, theirs)]
            parts = [part for part in between if part is not None]
            differences = paired_replicates(ours, theirs[f"{metric}_replicates"])
            half = combined_half_width(differences, parts)
            error, freedom = combined_error(differences, parts)
            p = None if error is None else p_value(delta, error, freedom)
        why = "" if alike else (reasons or [NO_PARTNER])[-1]
        found.append((delta, half, p, why, theirs.get("method"), theirs.get("job")))
    columns = ["delta", "ci", "p", "unpaired", "versus", "job"]
    types = dict.fromkeys(("delta", "ci", "p"), "float64")
    return pd.DataFrame(found, frame.index, columns).astype(types)


def _between(row: Mapping[str, Any], metric: str) -> tuple[float, int] | None:
    """Return the variance of a mean between realizations and its degrees of freedom, if known."""
    variance = row.get(f"{metric}_between")
    return None if variance is None else (variance, int(row["realizations"]) - 1)


def unlike(row: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return what forbids pairing two rows of a records frame; nothing where they may be paired."""
    names = differences(row["measured_on"], other["measured_on"])
    reasons = [f"another environment ({', '.join(names)})"] if names else []
    for column, what in (("model_digest", "model"), ("n_images", "number of images")):
        reasons += [f"another {what}"] if row[column] != other[column] else []
    return " and ".join(reasons)


def seed_means(frame: pd.DataFrame, scores: Sequence[str], costs: Sequence[str]) -> pd.DataFrame:
    """Return one row for each method, budget and format of ``frame``: means over seeds.

    Means are of the seeds that are done. Recipes of one name have a row each. Columns: ``scores``
    with their standard deviation ``_std`` (ddof = 1) and the half-width ``_ci`` of the mean if
    ``frame`` has one, but none where a seed has several realizations, as these share its images;
    ``costs``; ``seeds`` and ``seeds_done``; ``satisfied`` (by all seeds); the ``status`` and
    ``reason`` of the first job that is not done; every other column as in the first row that is
    done. A score that a seed lacks has no mean. Rows are in the order in which their groups appear.
    """
    groups = frame.groupby(ALIKE, sort=False)
    order = groups.size().index
    done = frame[frame["status"] == "done"].groupby(ALIKE, sort=False)
    first = frame.sort_values("status", key=lambda status: status != "done", kind="stable")
    table = first.groupby(ALIKE, sort=False).head(1).set_index(ALIKE).reindex(order)
    sizes = done.size().reindex(order, fill_value=0)
    whole = done[list(scores)].count().reindex(order).eq(sizes, axis=0)
    table[list(scores)] = done[list(scores)].mean().reindex(order).where(whole)
    table[list(costs)] = done[list(costs)].mean().reindex(order).astype("float64")
    spreads = done[list(scores)].std().reindex(order).where(whole)
    intervals = [f"{name}_ci" for name in scores if f"{name}_ci" in frame]
    # Realizations of one seed share its images: their intervals are not independent.
    shared = sizes.gt(done["seed"].nunique().reindex(order, fill_value=0))
    halves = done[intervals].agg(mean_half_width).reindex(order).mask(shared)
    table = table.drop(columns=intervals).join(spreads.add_suffix("_std")).join(halves)
    table["seeds"] = groups["seed"].nunique()
    table["seeds_done"] = done["seed"].nunique().reindex(order, fill_value=0)
    table["satisfied"] = done["satisfied"].all().reindex(order).astype("boolean")
    lost = frame[frame["status"] != "done"].groupby(ALIKE, sort=False).head(1)
    lost = lost.set_index(ALIKE)
    table["status"] = lost["status"].reindex(order).fillna("done")
    numbers = " realization " + lost["realization"].astype(str)
    where = "seed " + lost["seed"].astype(str) + numbers.where(lost["realization"] > 0, "")
    reasons = where + ": " + lost["reason"].astype(str)
    table["reason"] = reasons.reindex(order).fillna("")
    return table.drop(columns=["seed", "realization", "job", "ties"], errors="ignore").reset_index()


def frame_csv(frame: pd.DataFrame, form: str = "%.10g") -> str:
    """Return ``frame`` as CSV without its index, floating-point numbers in ``form``.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    return frame.map(_no_formula).to_csv(index=False, float_format=form, lineterminator="\n")


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _digest_of_recipe(record: JobRecord) -> str:
    """Return the digest of a recipe: of an older record, without the code of its plugins.

    What a recipe had no word for when it was measured is at its default.
    """
    if record.recipe_digest is not None:
        return record.recipe_digest
    fields = {name: record.recipe[name] for name in Recipe.model_fields if name in record.recipe}
    rest = {name: record.recipe[name] for name in record.recipe if name not in fields}
    with suppress(ValidationError):  # a recipe of a version that had other values
        recipe = Recipe.model_validate(fields)
        fields = recipe.model_dump(mode="json", exclude=set(TEXTS), exclude_defaults=True)
    return digest_of([fields, rest])


def _costs(costs: Costs | None) -> dict[str, Any]:
    """Return the columns of costs: an overhead that a record lacks is missing, not 0."""
    if costs is None:
        return {}
    overhead = {f"overhead_{source}": count for source, count in costs.overhead.items()}
    return dict(costs) | overhead


def _class_of(recipe: Mapping[str, Any]) -> str:
    """Return the class of the formats of a record from before records had one."""
    names = ("name", "weight_format", "activation_format", "choices", "format_is_part")
    with suppress(ValidationError):  # a recipe of a version that had other values
        return Recipe.model_validate({k: recipe[k] for k in names if k in recipe}).format_class
    return ""


def _row(record: JobRecord) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(record, name) for name in _OWN}
    row |= _costs(record.costs) | dict(record.allocation or ())
    row |= {f"{name}_replicates": () for name in METRICS}
    for name, score in record.scores.items():
        row |= {name: score.value, f"{name}_ci": score.ci, f"{name}_replicates": score.replicates}
    if not record.is_full_precision and not record.format:
        row["format"] = _class_of(record.recipe)
    bound = Budget.parse(record.budget).precision
    return row | {
        "seconds": math.fsum(record.seconds.values()),
        "search_seconds": record.seconds.get("search", 0.0),
        "is_full": record.is_full_precision,
        "is_done": record.status == "done",
        "bits": bound.weight_bits * bound.activation_bits,
        "measured_on": environment_of(record),
        "commit": record.provenance.git,
        "recipe_digest": _digest_of_recipe(record),
    }
