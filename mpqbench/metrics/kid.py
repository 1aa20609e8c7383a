"""Kernel distance (KID): unbiased squared MMD with a cubic kernel (Binkowski et al. 2018).

k(x, y) = (x.y / d + 1)^3 over all pairs rather than random subsets, so that nothing is drawn. The
estimate is unbiased and may be slightly negative.
"""

from collections.abc import Iterator

import numpy as np

from ..core.errors import BenchError
from ..core.jackknife import Estimate
from .rows import products, squared_norms


class KernelReference:
    """Reference points (N, d) and their mean kernel, computed once for many distances."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        sums, diagonal = _pair_sums(points, np.zeros(len(points), dtype=np.int64), 1)
        self.mean = _mean_of_pairs(float(sums[0, 0]), float(diagonal[0]), len(self.points))

    def distance(self, points: np.ndarray, groups: np.ndarray | None = None) -> Estimate:
        """Return the U-statistic of ``points`` (n, d), and without each group of ``groups`` (n,).

        Raises BenchError for fewer than two points.
        """
        dealt = np.zeros(len(points), dtype=np.int64) if groups is None else groups
        count = int(dealt.max()) + 1
        pairs, diagonal = _pair_sums(points, dealt, count)
        per_point = np.zeros(len(points))
        for rows, _, kernel in _kernels(points, self.points):
            per_point[rows] += kernel.sum(axis=1)
        cross = np.bincount(dealt, weights=per_point, minlength=count)
        sizes = np.bincount(dealt, minlength=count)
        value = self._distance(pairs.sum(), diagonal.sum(), cross.sum(), len(points))
        if groups is None:
            return Estimate(value)
        rest = (
            pairs.sum() - 2.0 * pairs.sum(axis=1) + np.diag(pairs),
            diagonal.sum() - diagonal,
            cross.sum() - cross,
            len(points) - sizes,
        )
        left_out = (self._distance(*terms) for terms in zip(*rest, strict=True))
        return Estimate(value, tuple(left_out))

    def _distance(self, pairs: float, diagonal: float, cross: float, count: int) -> float:
        within = _mean_of_pairs(pairs, diagonal, count)
        return float(within + self.mean - 2.0 * cross / (count * len(self.points)))


def _mean_of_pairs(total: float, diagonal: float, count: int) -> float:
    if count < 2:
        raise BenchError(f"a kernel distance needs at least 2 images, not {count}")
    return (total - diagonal) / (count * (count - 1))


def _kernels(points: np.ndarray, others: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield the kernel of all pairs tile by tile: rows, columns, values."""
    for rows, columns, tile in products(points, others):
        tile /= points.shape[1]
        tile += 1.0
        yield rows, columns, tile * tile * tile


def _pair_sums(points: np.ndarray, groups: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum the kernel over each pair of groups (count, count) and over the diagonal (count,)."""
    member = np.eye(count)[groups]
    sums = np.zeros((count, count))
    for rows, columns, kernel in _kernels(points, points):
        sums += member[rows].T @ (kernel @ member[columns])
    squares = squared_norms(points) / points.shape[1]
    return sums, np.bincount(groups, weights=(squares + 1.0) ** 3, minlength=count)
