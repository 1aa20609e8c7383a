"""Mean and interval over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...records.schema import JobRecord

_ENOUGH = 3  # seeds from which on a t interval says something


class Spread(NamedTuple):
    """Mean over ``seeds`` values and the interval around it."""

    mean: float
    low: float
    high: float
    seeds: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and 95 % t interval (n - 1 degrees of freedom); below 3 values, smallest to largest."""
    mean, count = statistics.fmean(values), len(values)
    if count < _ENOUGH:
        return Spread(mean, min(values), max(values), count)
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.975)) * statistics.stdev(values) / math.sqrt(count)
    return Spread(mean, mean - half, mean + half, count)


def over_seeds(records: Sequence[JobRecord], metric: str) -> Spread | None:
    """Spread of ``metric`` over ``records`` of different seeds; ``None`` where none has it.

    One record alone has its own interval, where it has one.
    """
    scores = [r.scores[metric] for r in records if metric in r.scores]
    if len(scores) == 1 and scores[0].ci is not None:
        value, half = scores[0].value, scores[0].ci
        return Spread(value, value - half, value + half, 1)
    return spread([score.value for score in scores]) if scores else None


def spread_label(seeds: Iterable[int]) -> str:
    """What is drawn of methods with these numbers of seeds."""
    counts = sorted(set(seeds))
    if counts[-1] == 1:
        return "One seed."
    shown = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if counts[0] >= _ENOUGH:
        return f"Mean and 95 % t interval over {shown} seeds."
    if counts[-1] < _ENOUGH:
        return f"Mean, smallest and largest of {shown} seeds."
    return (
        f"Mean over {shown} seeds; 95 % t interval from {_ENOUGH} seeds on, smallest and largest "
        "below that."
    )
