"""Manifolds of k-nearest-neighbour balls, for precision and recall (Kynkaanniemi et al. 2019).

Precision is the share of samples inside the manifold of the reference, recall the share of the
reference inside the manifold of the samples (ADM evaluator: k = 3).
"""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from ..core.errors import BenchError
from .rows import products, slices, squared_norms

NEIGHBOURS = 3
Arithmetic = Literal["float64", "adm-float16"]
ARITHMETICS: tuple[str, ...] = get_args(Arithmetic)
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
        nearest = np.full((len(points), k + 1), np.inf)
        for rows, _, tile in self._squared(points):
            closest = np.partition(tile, min(k, tile.shape[1] - 1), axis=1)[:, : k + 1]
            both = np.concatenate([nearest[rows], closest], axis=1)
            nearest[rows] = np.partition(both, k, axis=1)[:, : k + 1]
        self.radii = nearest[:, k]

    def precision_recall(self, samples: "Manifold") -> tuple[float, float]:
        """Return the share of samples inside this manifold, and of these points inside theirs.

        A point is inside where it is in at least one ball, its surface included. Each distance is
        computed once for both.
        """
        inside, within = (np.zeros(len(each.points), dtype=bool) for each in (samples, self))
        for rows, columns, tile in samples._squared(self.points):
            inside[columns] |= (tile <= self.radii[rows, None]).any(axis=0)
            within[rows] |= (tile <= samples.radii[columns]).any(axis=1)
        return float(inside.mean()), float(within.mean())

    def _squared(self, points: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Yield squared distances tile by tile: rows of ``points``, columns of the points here."""
        if self.arithmetic == "float64":
            norms, own_norms = squared_norms(points), squared_norms(self.points)
            for rows, columns, tile in products(points, self.points):
                tile *= -2.0
                tile += norms[rows, None] + own_norms[columns]
                yield rows, columns, np.clip(tile, 0.0, None, out=tile)
            return
        for columns in slices(len(self.points), _ADM_BLOCK):
            for rows in slices(len(points), _ADM_BLOCK):
                yield rows, columns, _adm_distances(points[rows], self.points[columns])


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
    norms = [np.einsum("nd,nd->n", each, each) for each in single]
    return np.clip(norms[0][:, None] + norms[1] - 2.0 * (single[0] @ single[1].T), 0.0, None)
