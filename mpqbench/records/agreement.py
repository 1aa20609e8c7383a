"""How much two models agree on the order of methods."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

FEWEST_METHODS = 4  # below, three values of tau are all that there are
DRAWS = 4000


@dataclass(frozen=True)
class ModelAgreement:
    """Kendall's tau between the scores of methods on two models, at one budget and format.

    ``low`` and ``high`` bound the 95% interval. ``values`` has a row for each method, with the
    columns ``one`` and ``other``.
    """

    budget: str
    format: str
    tau: float
    low: float
    high: float
    values: pd.DataFrame


def agreements(one: pd.DataFrame, other: pd.DataFrame, score: str = "fd") -> list[ModelAgreement]:
    """Return the agreement of two models at each budget, and in each format class.

    Where every method has one class of formats, as that of its paper, and these differ, methods of
    all classes are taken together and ``format`` is "".

    Both frames have ``method``, ``budget``, ``format``, ``seed``, ``score`` and the score's
    replicates. A method's score is the mean over its rows. Conditions that fewer than four methods
    have on both models are left out.

    The interval has the 2.5th and 97.5th percentiles of tau over scores that are drawn from a
    normal distribution around the measured ones. Its covariance is the jackknife's over images,
    of which methods share the noise (our choice: tau jumps, and so has no jackknife of its own).
    """
    found = []
    mixed = one["format"].nunique() > one.groupby("method")["format"].nunique().max() == 1
    keys = ["budget"] if mixed else ["budget", "format"]
    for key, rows in one.groupby(keys, sort=False):
        theirs = other[(other[keys] == list(key)).all(axis=1)]
        both = [m for m in dict.fromkeys(rows["method"]) if m in set(theirs["method"])]
        if len(both) < FEWEST_METHODS:
            continue
        sides = [_Scores.of(frame, both, score) for frame in (rows, theirs)]
        values = pd.DataFrame({"one": sides[0].mean, "other": sides[1].mean}, index=both)
        tau = float(kendalltau(values["one"], values["other"]).statistic)
        low, high = np.quantile(_drawn(*sides), [0.025, 0.975])
        where = dict(zip(keys, key, strict=True))
        found.append(
            ModelAgreement(
                where["budget"], where.get("format", ""), tau, float(low), float(high), values
            )
        )
    return found


@dataclass(frozen=True)
class _Scores:
    """The scores of methods: their means (m,) and the covariance of these (m, m)."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, methods: list[str], score: str) -> "_Scores":
        means = rows.groupby("method")[score].mean().loc[methods].to_numpy(dtype=float)
        seeds, total = rows["seed"].unique(), np.zeros((len(methods), len(methods)))
        for seed in seeds:  # other seeds are other noise: their errors are independent
            total += _jackknife(rows[rows["seed"] == seed], methods, f"{score}_replicates")
        return cls(means, total / len(seeds) ** 2)


def _jackknife(rows: pd.DataFrame, methods: list[str], name: str) -> np.ndarray:
    """Return the covariance (m, m) of methods over images, zero for those without replicates."""
    of_method = {
        method: np.mean([values for values in group[name] if len(values)], axis=0)
        for method, group in rows.groupby("method")
        if any(len(values) for values in group[name])
    }
    covariance = np.zeros((len(methods), len(methods)))
    known = [at for at, method in enumerate(methods) if method in of_method]
    if known:
        table = np.stack([of_method[methods[at]] for at in known])
        spread = table - table.mean(axis=1, keepdims=True)
        count = table.shape[1]
        covariance[np.ix_(known, known)] = (count - 1) / count * spread @ spread.T
    return covariance


def _drawn(one: _Scores, other: _Scores) -> np.ndarray:
    """Return tau of ``DRAWS`` pairs of scores that are drawn independently: (draws,)."""
    rng = np.random.default_rng(0)
    first, second = (
        rng.multivariate_normal(side.mean, side.covariance, DRAWS, method="eigh")
        for side in (one, other)
    )
    at, above = np.triu_indices(len(one.mean), 1)
    orders = np.sign(first[:, at] - first[:, above]) * np.sign(second[:, at] - second[:, above])
    return np.asarray(orders.mean(axis=1))
