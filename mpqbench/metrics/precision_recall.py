"""Manifolds of k-nearest-neighbour balls, for precision and recall (Kynkaanniemi et al. 2019).

Precision is the share of samples inside the manifold of the reference, recall the share of the
reference inside the manifold of the samples (ADM evaluator: k = 3).
"""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from ..core.errors import BenchError

NEIGHBOURS = 3
Arithmetic = Literal["float64", "adm-float16"]
ARITHMETICS: tuple[str, ...] = get_args(Arithmetic)
_BLOCK = 1000
_ADM_BLOCK = 10_000  # rows and columns that the ADM evaluator computes at once


class Manifold:
    """Points (N, d), each with the squared distance to its ``k``-th nearest other point.

    Distances are float64, or as in the ADM evaluator: float16, and float32 in blocks of 10,000 by
    10,000 points where a float16 overflows. Raises BenchError for ``k`` points or fewer.
    """

    def __init__(
        self, points: np.ndarray, k: int = NEIGHBOURS, arithmetic: Arithmetic = "float64"
    ) -> None:
        if len(points) <= k:
            raise BenchError(f"precision and recall with k={k} need over {k} images")
        self.points, self.arithmetic = points, arithmetic
        # Rank 0 is the point itself, at distance zero.
        blocks = self._squared(points)
        self.radii = np.concatenate([np.partition(block, k, axis=1)[:, k] for block in blocks])

    def share_inside(self, points: np.ndarray) -> float:
        """Return the share of ``points`` (n, d) in at least one ball, its surface included."""
        inside = sum((b <= self.radii).any(axis=1).sum() for b in self._squared(points))
        return float(inside) / len(points)

    def _squared(self, points: np.ndarray) -> Iterator[np.ndarray]:
        """Yield squared distances in blocks (b, N), never all of them at once."""
        if self.arithmetic == "float64":
            others = np.asarray(self.points, dtype=np.float64)
            for start in range(0, len(points), _BLOCK):
                yield _distances(points[start : start + _BLOCK].astype(np.float64), others)
            return
        for start in range(0, len(points), _ADM_BLOCK):
            rows = points[start : start + _ADM_BLOCK]
            columns = range(0, len(self.points), _ADM_BLOCK)
            blocks = [_adm_distances(rows, self.points[c : c + _ADM_BLOCK]) for c in columns]
            yield np.concatenate(blocks, axis=1)


def _distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return |u|^2 + |v|^2 - 2 u.v in the type of both, at least 0."""
    norms = np.einsum("nd,nd->n", points, points)[:, None] + np.einsum("nd,nd->n", others, others)
    distances = norms - 2.0 * (points @ others.T)
    return np.clip(distances, 0.0, None, out=distances)


def _adm_distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (|u|^2 - 2 u.v) + |v|^2, each result rounded to float16; sums are in float32."""
    single = [np.asarray(each, dtype=np.float32) for each in (points, others)]
    with np.errstate(over="ignore", invalid="ignore"):
        u, v = (each.astype(np.float16).astype(np.float32) for each in single)
        squares = [
            (each * each).astype(np.float16).sum(axis=1, dtype=np.float32).astype(np.float16)
            for each in (u, v)
        ]
        products = np.float16(2) * (u @ v.T).astype(np.float16)
        distances = squares[0][:, None] - products
        distances += squares[1]
    if np.isfinite(distances).all():
        return np.maximum(distances, np.float16(0))
    return _distances(*single)
