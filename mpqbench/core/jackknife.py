"""Intervals by the delete-group jackknife, which counts no image twice.

A bootstrap with replacement is wrong for distances between distributions: the duplicates that are
drawn about double the bias of the distance.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .errors import BenchError

GROUPS = 20
_FEWEST_GROUPS = 10  # below, 1.96 standard errors of so few replicates are far from 95%
FEWEST_IMAGES = 2 * _FEWEST_GROUPS  # for an interval
NORMAL_95 = 1.96


class Estimate(NamedTuple):
    """A metric's value, and its value without each group of images (empty: no groups)."""

    value: float
    replicates: tuple[float, ...] = ()

    @property
    def ci(self) -> float | None:
        """Half width of the 95% interval, None without replicates."""
        return half_width(self.replicates)


def deal_groups(
    count: int, classes: np.ndarray | None = None, groups: int = GROUPS
) -> np.ndarray | None:
    """Return the group of each image, int (N,) from 0 to G-1, or None where N is too small.

    Images, sorted by class and within a class by index, are assigned to the groups in turn. Where
    every class has a multiple of G images, the group is the rank within the class modulo G;
    elsewhere the sizes of groups, and of a class in them, differ by at most one. G is ``groups``,
    or N // 2 where that is smaller; below 10 groups there is no interval. Without ``classes`` (N,)
    all images are one class. The assignment is our choice.

    Raises BenchError where ``classes`` does not have one entry per image.
    """
    order = _by_class(count, classes)
    groups = min(groups, count // 2)
    if groups < _FEWEST_GROUPS:
        return None
    dealt = np.empty(count, dtype=np.int64)
    dealt[order] = np.arange(count) % groups
    return dealt


def balanced_subset(count: int, most: int, classes: np.ndarray | None = None) -> np.ndarray:
    """Return the numbers, rising, of ``most`` of ``count`` images, in equal shares of each class.

    These are every (count / most)-th of the images, sorted by class and within a class by index.
    Raises BenchError as ``deal_groups``.
    """
    return np.sort(_by_class(count, classes)[np.arange(most) * count // most])


def _by_class(count: int, classes: np.ndarray | None) -> np.ndarray:
    """Return the numbers of images, sorted by class and within a class by index."""
    if classes is None:
        return np.arange(count)
    if classes.shape != (count,):
        raise BenchError(f"{count} images need {count} classes, not shape {classes.shape}")
    return np.argsort(classes, kind="stable")


def standard_error(replicates: Sequence[float]) -> float:
    """Return sqrt((G-1)/G sum (theta_g - mean)^2) of the G replicates (Shao and Wu 1989).

    Raises BenchError for fewer than two replicates.
    """
    values = np.asarray(replicates, dtype=np.float64)
    count = len(values)
    if count < 2:
        raise BenchError(f"a standard error needs at least 2 replicates, not {count}")
    return float(np.sqrt((count - 1) / count * np.sum((values - values.mean()) ** 2)))


def half_width(replicates: Sequence[float]) -> float | None:
    """Return half the 95% interval, 1.96 standard errors; None where there are no replicates."""
    return NORMAL_95 * standard_error(replicates) if len(replicates) else None
