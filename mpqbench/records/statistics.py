"""Paired differences, and means with intervals over seeds."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from ..core.jackknife import NORMAL_95, half_width

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


def paired_half_width(
    first: Sequence[float], second: Sequence[float], between: Sequence[tuple[float, int]] = ()
) -> float | None:
    """Return the half-width of the 95 % interval of a paired difference from its replicates.

    Delete-group jackknife of the differences d_g, g = 1..G:
    ``1.96 sqrt((G - 1) / G sum_g (d_g - mean d)^2)`` (Efron, The Jackknife, 1982, chapter 3).
    ``None`` unless both sides have the same number, two or more, of replicates. ``between`` is as
    in ``combined_half_width``.
    """
    if len(first) < 2 or len(first) != len(second):
        return None
    return combined_half_width([a - b for a, b in zip(first, second, strict=True)], between)


def combined_half_width(
    replicates: Sequence[float], between: Sequence[tuple[float, int]]
) -> float | None:
    """Return the half-width of the 95 % interval of a mean over realizations.

    ``replicates`` are those of the delete-group jackknife over images, of the mean or of a paired
    difference; ``between`` has a variance of a mean between realizations, and its degrees of
    freedom, for each side that has several. The variances add up, and Student's t has the degrees
    of freedom of Welch and Satterthwaite (Biometrics Bulletin 2, 1946). Without ``between`` it is
    the interval over images alone, 1.96 standard errors. ``None`` without replicates.
    """
    images = half_width(tuple(replicates))
    if images is None or not between:
        return images
    from scipy.special import stdtrit

    parts = [((images / NORMAL_95) ** 2, len(replicates) - 1), *between]
    total = sum(variance for variance, _ in parts)
    squares = sum(variance**2 / freedom for variance, freedom in parts)
    if not squares:
        return 0.0
    return float(stdtrit(total**2 / squares, 0.975)) * math.sqrt(total)


def mean_half_width(halves: Iterable[float | None]) -> float:
    """Return the half-width of a mean of independent values, ``sqrt(sum h^2) / n``.

    NaN if one of them has no interval, and for no values at all.
    """
    known = [math.nan if half is None else float(half) for half in halves]
    return math.sqrt(sum(half**2 for half in known)) / len(known) if known else math.nan
