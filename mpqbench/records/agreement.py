"""Rank correlations, and how much two models agree on the order of methods."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from ..core.errors import BenchError
from ..core.jackknife import NORMAL_95, standard_error

FEWEST = 10  # items: below, a jackknife interval of a rank correlation says nothing
FEWEST_METHODS = 4  # below, three values of tau are all that there are
DRAWS = 4000


class Agreement(NamedTuple):
    """Kendall's tau of two orders, and its value without each of the items that are ordered."""

    tau: float
    replicates: tuple[float, ...]

    @property
    def ci(self) -> float:
        """Half-width of the 95 % interval of tau, by the delete-one jackknife (Arvesen 1969).

        A bootstrap would repeat items, and ties with themselves lower its tau.
        """
        return NORMAL_95 * standard_error(self.replicates)

    def behind(self, other: Self) -> tuple[float, float]:
        """Return the tau of ``other`` minus this one, and the half-width of its 95 % interval.

        Both must be of the same items: the interval is that of the paired difference.
        """
        gaps = [o - s for o, s in zip(other.replicates, self.replicates, strict=True)]
        return other.tau - self.tau, NORMAL_95 * standard_error(gaps)


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement:
    """Return Kendall's tau-b of (n,) and (n,): 1 if both order the items alike.

    Raises BenchError for fewer than ten items, and if one side is constant.
    """
    if len(first) < FEWEST:
        raise BenchError(f"a rank correlation needs at least {FEWEST} values")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise BenchError("all scores are the same: there is no order to compare")
    without = [np.delete(np.arange(len(first)), left_out) for left_out in range(len(first))]
    taus = [float(kendalltau(first[rest], second[rest]).statistic) for rest in without]
    return Agreement(float(kendalltau(first, second).statistic), tuple(taus))


@dataclass(frozen=True)
class ModelAgreement:
    """Kendall's tau between the scores of methods on two models, at one budget and format.

    ``low`` and ``high`` bound the 95 % interval ``over`` images or, for a score without an interval
    of its own, over the methods that are compared. ``values`` has a row for each method, with the
    columns ``one`` and ``other``.
    """

    budget: str
    format: str
    tau: float
    low: float
    high: float
    values: pd.DataFrame
    over: Literal["images", "methods"] = "images"

    @classmethod
    def over_methods(cls, values: pd.DataFrame, budget: str = "", kind: str = "") -> Self | None:
        """Return the agreement of ``values`` with the interval of the jackknife over its rows.

        ``kind`` is the class of formats.
        ``None`` for fewer than ten rows, and where all scores of a model are the same.
        """
        try:
            found = agreement(values["one"].to_numpy(), values["other"].to_numpy())
        except BenchError:
            return None
        low, high = max(-1.0, found.tau - found.ci), min(1.0, found.tau + found.ci)
        return cls(budget, kind, found.tau, low, high, values, "methods")


def agreements(one: pd.DataFrame, other: pd.DataFrame, score: str = "fd") -> list[ModelAgreement]:
    """Return the agreement of two models at each budget, and in each format class.

    Where every method has one class of formats, as that of its paper, and these differ, methods of
    all classes are taken together and ``format`` is "".

    Both frames have ``method``, ``budget``, ``format``, ``seed`` and ``score``, of which a method's
    is the mean over its rows. Conditions that fewer than four methods have on both models are left
    out; so are those of fewer than ten where the score has no replicates, because
    the interval is then that of ``ModelAgreement.over_methods``.

    With replicates the interval has the 2.5th and 97.5th percentiles of tau over scores that are
    drawn from a normal distribution around the measured ones. Its covariance is the jackknife's
    over images, of which methods share the noise (our choice: tau jumps, and so has no jackknife
    over images of its own).
    """
    found = []
    mixed = one["format"].nunique() > one.groupby("method")["format"].nunique().max() == 1
    keys = ["budget"] if mixed else ["budget", "format"]
    for key, rows in one.groupby(keys, sort=False):
        theirs = other[(other[keys] == list(key)).all(axis=1)]
        both = [m for m in dict.fromkeys(rows["method"]) if m in set(theirs["method"])]
        if len(both) < FEWEST_METHODS:
            continue
        where = dict(zip(keys, key, strict=True))
        place = str(where["budget"]), str(where.get("format", ""))
        if not one[f"{score}_replicates"].map(len).any():
            means = [frame.groupby("method")[score].mean().loc[both] for frame in (rows, theirs)]
            values = pd.DataFrame(dict(zip(("one", "other"), means, strict=True)), index=both)
            if (pair := ModelAgreement.over_methods(values, *place)) is not None:
                found.append(pair)
            continue
        sides = [_Scores.of(frame, both, score) for frame in (rows, theirs)]
        values = pd.DataFrame({"one": sides[0].mean, "other": sides[1].mean}, index=both)
        tau = float(kendalltau(values["one"], values["other"]).statistic)
        low, high = np.quantile(_drawn(*sides), [0.025, 0.975])
        found.append(ModelAgreement(*place, tau, float(low), float(high), values))
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
