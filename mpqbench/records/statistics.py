"""Paired differences, and means with intervals over seeds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from ..core.jackknife import NORMAL_95, standard_error

FEWEST_SEEDS = 3  # a t interval over fewer seeds says nothing


class Spread(NamedTuple):
    """Mean over ``seeds`` values and the interval around it."""

    mean: float
    low: float
    high: float
    seeds: int


def spread(values: Sequence[float]) -> Spread:
    """Return the mean and its 95 % t interval; below three values the smallest and the largest."""
    mean, count = statistics.fmean(values), len(values)
    if count < FEWEST_SEEDS:
        return Spread(mean, min(values), max(values), count)
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.975)) * statistics.stdev(values) / math.sqrt(count)
    return Spread(mean, mean - half, mean + half, count)


def over_seeds(rows: pd.DataFrame, metric: str) -> Spread | None:
    """Return the spread of ``metric`` over seeds, of a single row its own interval, or ``None``."""
    known = rows.dropna(subset=metric)
    if len(known) == 1 and not math.isnan(half := float(known[f"{metric}_ci"].iloc[0])):
        value = float(known[metric].iloc[0])
        return Spread(value, value - half, value + half, 1)
    return spread(known[metric].tolist()) if len(known) else None


def spread_label(seeds: Iterable[int]) -> str:
    """Describe the intervals of methods that have these numbers of seeds."""
    counts = sorted(seeds)
    fewest, most = counts[0], counts[-1]
    if most == 1:
        return "One seed."
    shown = f"{most}" if fewest == most else f"{fewest} to {most}"
    if fewest >= FEWEST_SEEDS:
        return f"Mean and 95 % t interval over {shown} seeds."
    if most < FEWEST_SEEDS:
        return f"Mean, smallest and largest of {shown} seeds."
    return (
        f"Mean over {shown} seeds; 95 % t interval from {FEWEST_SEEDS} seeds on, smallest and "
        "largest below that."
    )


def paired_replicates(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return the differences of replicates of the delete-group jackknife of two rows.

    Their spread is that of the paired difference (Efron, The Jackknife, 1982, chapter 3). Empty
    unless both sides have the same number, two or more, of replicates.
    """
    if len(first) < 2 or len(first) != len(second):
        return []
    return [a - b for a, b in zip(first, second, strict=True)]


def combined_half_width(
    replicates: Sequence[float], between: Sequence[tuple[float, int]]
) -> float | None:
    """Return the half-width of the 95 % interval of a mean over realizations.

    That is 1.96 standard errors of ``combined_error`` over images alone, and the quantile of
    Student's t with ``between``. ``None`` without replicates.
    """
    error, freedom = combined_error(replicates, between)
    if error is None or math.isinf(freedom):
        return None if error is None else NORMAL_95 * error
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975)) * error


def combined_error(
    replicates: Sequence[float], between: Sequence[tuple[float, int]]
) -> tuple[float | None, float]:
    """Return the standard error of a mean over realizations, and its degrees of freedom.

    ``replicates`` are those of the delete-group jackknife over images, of the mean or of a paired
    difference; ``between`` has a variance of a mean between realizations, and its degrees of
    freedom, for each side that has several. The variances add up, and the degrees of freedom are
    those of Welch and Satterthwaite (Biometrics Bulletin 2, 1946). Without ``between``, and where
    all variances are 0, they are infinite: the normal distribution. The error is ``None`` without
    replicates.
    """
    if not len(replicates):
        return None, math.inf
    images = standard_error(replicates)
    if not between:
        return images, math.inf
    parts = [(images**2, len(replicates) - 1), *between]
    total = sum(variance for variance, _ in parts)
    squares = sum(variance**2 / freedom for variance, freedom in parts)
    return math.sqrt(total), total**2 / squares if squares else math.inf


def p_value(difference: float, error: float, freedom: float = math.inf) -> float:
    """Return the two-sided p-value of a difference with this standard error, for no difference.

    It is that of Student's t with ``freedom`` degrees of freedom, by default of the normal
    distribution. Without an error any difference but 0 has p = 0.
    """
    if not error:
        return float(difference == 0)
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -abs(difference) / error))


def holm(values: Sequence[float]) -> list[float]:
    """Return the p-values of one family, corrected by Holm's step-down procedure.

    The i-th smallest of n, i = 1..n, becomes ``max over j <= i of (n - j + 1) p_j``, at most 1
    (Holm, Scandinavian Journal of Statistics 6, 1979). Those below 0.05 are the comparisons whose
    difference holds with at most 5 % chance of one mistake in the whole family, however the
    comparisons depend on each other.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, largest = [0.0] * len(values), 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - place) * values[at]))
        corrected[at] = largest
    return corrected


def hypervolume(points: Iterable[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Return the area that ``points`` dominate up to ``reference``; both coordinates are costs.

    It is the area of all places that are at least as large as some point in both coordinates and
    at most as large as ``reference`` (Zitzler and Thiele, PPSN V, 1998). Points beyond the
    reference add nothing.
    """
    area, height = 0.0, reference[1]
    for first, second in sorted(points):
        if first < reference[0] and second < height:
            area += (reference[0] - first) * (height - second)
            height = second
    return area


def mean_half_width(halves: Iterable[float | None]) -> float:
    """Return the half-width of a mean of independent values, ``sqrt(sum h^2) / n``.

    NaN if one of them has no interval, and for no values at all.
    """
    known = [math.nan if half is None else float(half) for half in halves]
    return math.sqrt(sum(half**2 for half in known)) / len(known) if known else math.nan
