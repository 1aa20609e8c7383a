"""Intervals by the delete-group jackknife: no image is ever counted twice.

A bootstrap with replacement is wrong for distances between distributions: the duplicates it draws
about double their bias. Leaving groups out keeps every image distinct.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..core.errors import BenchError

GROUPS = 20
_FEWEST_GROUPS = 10  # below, 1.96 standard errors of so few replicates are far from 95%
NORMAL_95 = 1.96


class Estimate(NamedTuple):
    """A metric's value and what it becomes without each group (empty: no groups)."""

    value: float
    replicates: tuple[float, ...]


def deal_groups(
    count: int, classes: np.ndarray | None = None, groups: int = GROUPS
) -> np.ndarray | None:
    """Group of each image, int (N,) from 0 to G-1, class-balanced; None where N is too small.

    The images, sorted by class and within a class by index, are dealt in turn like cards. Where
    every class has a multiple of G images, the group is the rank within the class modulo G; where
    not, groups and classes within groups still differ by at most one image. G is ``groups``, or
    N // 2 where that is smaller (each group has at least two images); with fewer than 10 groups
    there is no interval. Our choice; without ``classes`` all images count as one class.

    Raises BenchError where ``classes`` does not have one entry per image.
    """
    if classes is None:
        classes = np.zeros(count, dtype=np.int64)
    if classes.shape != (count,):
        raise BenchError(f"{count} images need {count} classes, not shape {classes.shape}")
    groups = min(groups, count // 2)
    if groups < _FEWEST_GROUPS:
        return None
    dealt = np.empty(count, dtype=np.int64)
    dealt[np.argsort(classes, kind="stable")] = np.arange(count) % groups
    return dealt


def standard_error(replicates: Sequence[float]) -> float:
    """sqrt((G-1)/G sum (theta_g - mean)^2) of the G leave-group-out values (Shao and Wu 1989)."""
    values = np.asarray(replicates, dtype=np.float64)
    count = len(values)
    if count < 2:
        raise BenchError(f"a standard error needs at least 2 replicates, not {count}")
    return float(np.sqrt((count - 1) / count * np.sum((values - values.mean()) ** 2)))


def half_width(replicates: Sequence[float]) -> float | None:
    """Half the 95% interval, 1.96 standard errors; None where there are no replicates."""
    return NORMAL_95 * standard_error(replicates) if len(replicates) else None
