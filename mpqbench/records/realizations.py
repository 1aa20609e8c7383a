"""Rows of several realizations: their mean, and what they vary by.

A realization is a quantized model of the same recipe with another calibration set (and whatever
else a method draws), sampled from the same noise. docs/metrics.md derives the interval.
"""

from typing import Any

import pandas as pd

from .schema import METRICS
from .statistics import combined_half_width

_CONDITION = ["model", "home", "method", "budget", "format", "recipe_digest", "seed"]
_MEANS = ("search_evals", "seconds", "search_seconds", "peak_mb", "effective_bits",
          "mean_weight_bits", "mean_activation_bits")  # fmt: skip


def realization_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each method, budget, format and seed of ``frame``, in its order.

    A row of several realizations has their means of scores, replicates, costs and seconds;
    ``_ci`` with both parts; ``realizations``, how many are done; and ``fd_between``, the variance
    of the mean FD between realizations. Other columns are those of the first realization. The row
    is done only where all of its realizations are, and the reason names one that is not. A single
    realization has no ``fd_between``. ``frame`` has a column ``home`` beside those of a record.
    """
    keys = [*_CONDITION, "where"]
    frame = frame.assign(where=frame["measured_on"].map(str), place=range(len(frame)))
    whole = [str(name) for name, kind in frame.dtypes.items() if str(kind) == "Int64"]
    counts = [name for name in whole if name not in ("seed", "realization", "n_images")]
    groups = frame.groupby(keys, sort=False, dropna=False)
    sizes = groups["place"].transform("size")
    alone, several = frame[sizes == 1], frame[sizes > 1]
    rows = []
    for _, group in several.groupby(keys, sort=False, dropna=False):
        first = group["place"].min()
        rows.append(_mean(group.sort_values("realization"), counts) | {"place": first})
    columns = [*frame.columns, "realizations", "fd_between"]
    types = dict(frame.dtypes) | {"realizations": "Int64", "fd_between": "float64"}
    means = pd.DataFrame(rows, columns=columns).astype(types)
    alone = alone.assign(realizations=1, fd_between=float("nan")).astype(types)
    made = pd.concat([alone, means]) if rows else alone
    return made.sort_values("place", ignore_index=True).drop(columns=["where", "place"])


def _mean(group: pd.DataFrame, counts: list[str]) -> dict[str, Any]:
    """Return the row of the realizations of ``group``, two or more."""
    row, lost = dict(group.iloc[0]), group[~group["is_done"]]
    row["realizations"] = len(group) - len(lost)
    row["notes"] = tuple(dict.fromkeys(note for notes in group["notes"] for note in notes))
    if len(lost):
        first = lost.iloc[0]
        row |= {"is_done": False, "status": first["status"]}
        row["reason"] = f"realization {first['realization']}: {first['reason']}"
    for name in METRICS:
        row |= _score(name, group) if not len(lost) else _no_score(name)
    for name in counts:
        mean = group[name].mean()
        row[name] = pd.NA if pd.isna(mean) else round(mean)
    row |= {name: group[name].mean() for name in _MEANS}
    row["satisfied"] = group["satisfied"].all() if group["satisfied"].notna().all() else pd.NA
    return row


def _score(name: str, group: pd.DataFrame) -> dict[str, Any]:
    """Return mean, replicates of the mean, and the interval of a metric."""
    values, replicates = group[name], list(group[f"{name}_replicates"])
    found: dict[str, Any] = {name: values.mean(skipna=False)}
    sizes = {len(each) if isinstance(each, tuple) else 0 for each in replicates}
    whole = len(sizes) == 1 and sizes != {0}
    means = tuple(sum(each) / len(each) for each in zip(*replicates, strict=True)) if whole else ()
    between = float(values.var(ddof=1)) / len(values)
    half = combined_half_width(means, [(between, len(values) - 1)])
    found |= {f"{name}_replicates": means, f"{name}_ci": float("nan") if half is None else half}
    return found | ({"fd_between": between} if name == "fd" else {})


def _no_score(name: str) -> dict[str, Any]:
    missing = float("nan")
    return {name: missing, f"{name}_ci": missing, f"{name}_replicates": ()}
