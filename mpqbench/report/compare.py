"""How the rows of one block compare: ranks, paired differences, baselines and fronts."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pandas as pd

from ..core.formats import OWN
from ..records.frame import NO_PARTNER, paired
from ..records.statistics import holm, hypervolume

NEAR_FULL, NEAR_BEST = "≈FP", "≈best"
RIVALS = ["budget", "format", "seed"]  # what rows that are ranked against each other share
_TOGETHER = [*RIVALS, "terms"]
_FRONT = ("method", "seed", "terms", "recipe_digest")  # what the points of one front share
_LEVEL = 0.05  # of Holm's procedure
_BEYOND = 1.1  # the reference point is that much beyond the largest distance
References = dict[str, tuple[float, float]]


def compared(frame: pd.DataFrame, highlight: str | None = None) -> tuple[pd.DataFrame, References]:
    """Return ``frame`` with what its rows say about each other, and the reference points.

    Rows are ranked within one class of formats, if they are paired with full precision; ``remark``
    says why others are not. A method whose idea is the format has no rival. ``fd_delta`` is the
    difference to full precision, ``ties`` are intervals that contain 0, ``baseline_...`` compare
    with the best other method (``highlight`` is nobody's baseline), and ``hypervolume`` is the
    share of the box between 0 and the reference point (BitOPs, distance) of a class of formats that
    the ranked rows of a method and seed dominate.
    """
    frame = frame.assign(terms=[str(where[:4]) for where in frame["measured_on"]])
    done = frame[frame["is_done"] & frame["fd"].notna()]
    measured = done[~done["is_full"]]
    to_full = paired(measured, done[done["is_full"]].set_index("seed"))
    is_rival = measured["satisfied"].fillna(False).astype(bool) & to_full["unpaired"].eq("")
    is_rival &= measured["format"].ne(OWN)
    rivals = measured[is_rival]
    ranks = rivals.groupby(_TOGETHER)["fd"].rank(method="min").astype("Int64")
    best = rivals.sort_values(["fd", "method", "job"]).groupby(_TOGETHER).head(1)
    others = measured[measured.index.isin(ranks.index) & ~measured.index.isin(best.index)]
    to_best = paired(others, best.set_index(RIVALS))
    marks = pd.DataFrame({NEAR_FULL: _is_tie(to_full), NEAR_BEST: _is_tie(to_best)})
    ties = [" ".join(marks.columns[row == 1]) for row in marks.to_numpy()]
    unpaired = to_full["unpaired"].reindex(frame.index).fillna("")
    areas, references = _fronts(rivals, done[done["is_full"]])
    frame = frame.assign(
        rank=ranks,
        fd_delta=to_full["delta"],
        fd_delta_ci=to_full["ci"],
        ties=pd.Series(ties, marks.index, "object").reindex(frame.index).fillna(""),
        unpaired=unpaired,
        remark=_remarks(frame, unpaired),
        hypervolume=areas,
    )
    return frame.join(_to_baseline(rivals, highlight)), references


def _is_tie(differences: pd.DataFrame) -> pd.Series:
    return (differences["delta"].abs() <= differences["ci"]).astype("float64")


def _to_baseline(rivals: pd.DataFrame, highlight: str | None) -> pd.DataFrame:
    """Return the paired difference of every row to the best row of another method.

    ``baseline_p_holm`` is corrected over the pairs of one budget and class of formats, each once.
    """
    best: dict[tuple[object, ...], dict[str, str]] = defaultdict(dict)
    for *key, method, job in _tuples(rivals.sort_values(["fd", "method", "job"])):
        if method != highlight and len(best[tuple(key)]) < 2:
            best[tuple(key)].setdefault(method, job)
    partners = [
        next((job for other, job in best[tuple(key)].items() if other != method), None)
        for *key, method, _ in _tuples(rivals)
    ]
    rows = rivals.assign(partner=pd.Series(partners, rivals.index, "object"))
    rows = rows[rows["partner"].notna()]
    found = paired(rows, rivals.assign(partner=rivals["job"]).set_index("partner"))
    pairs = pd.Series([" ".join(sorted(p)) for p in zip(rows["job"], rows["partner"], strict=True)],
                      found.index, "object")  # fmt: skip
    corrected = pd.Series(index=found.index, dtype="float64")
    for _, group in rows[found["p"].notna()].groupby(["budget", "format"]):
        family = found.loc[group.index, "p"].groupby(pairs).first()
        family[:] = holm(family.tolist())
        corrected[group.index] = pairs[group.index].map(family)
    sides = pd.Series("", found.index, "object")
    sides[corrected < _LEVEL] = "better"
    sides[(corrected < _LEVEL) & (found["delta"] > 0)] = "worse"
    table = found[["versus", "delta", "ci", "p"]].assign(p_holm=corrected, holm=sides)
    return table.rename(columns={"versus": "method", "ci": "delta_ci"}).add_prefix("baseline_")


def _tuples(rows: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield what the rivals of every row share, then its method and its job."""
    return zip(*(rows[name] for name in (*_TOGETHER, "method", "job")), strict=True)


def _fronts(rivals: pd.DataFrame, full: pd.DataFrame) -> tuple[pd.Series, References]:
    """Return the share of the box of every ranked row's method, and the corner by class."""
    areas = pd.Series(index=rivals.index, dtype="float64")
    references: References = {}
    dearest = full["bitops"].max()
    for name, rows in rivals.groupby("format"):
        corner = float(dearest), _BEYOND * float(rows["fd"].max())
        if pd.isna(dearest) or not min(corner) > 0:
            continue
        references[str(name)] = corner
        keys = list(zip(*(rows[key] for key in _FRONT), strict=True))
        points: dict[tuple[object, ...], list[tuple[float, float]]] = defaultdict(list)
        for key, cost, distance in zip(keys, rows["bitops"], rows["fd"], strict=True):
            points[key].append((float(cost), distance))
        shares = {
            k: hypervolume(own, corner) / (corner[0] * corner[1]) for k, own in points.items()
        }
        areas[rows.index] = [shares[key] for key in keys]
    return areas, references


def _remarks(frame: pd.DataFrame, unpaired: pd.Series) -> list[str]:
    """Return for each row why it is not paired, and whether another recipe has its name."""
    recipes = frame[~frame["is_full"]].groupby(["method", "format"])["recipe_digest"].nunique()
    remarks = []
    for *method, why in zip(frame["method"], frame["format"], unpaired, strict=True):
        reasons = []
        if why:
            reason = "this seed has none" if why == NO_PARTNER else f"that has {why}"
            reasons.append(f"not paired with full precision and not ranked: {reason}")
        if (count := int(recipes.get(tuple(method), 1))) > 1:
            reasons.append(f"one of {count} recipes of this name")
        remarks.append("; ".join(reasons))
    return remarks
