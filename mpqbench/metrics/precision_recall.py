"""Manifolds of k-nearest-neighbour balls, for precision and recall (Kynkaanniemi et al. 2019).

Precision is the share of samples inside the manifold of the reference, recall the share of the
reference inside the manifold of the samples (ADM evaluator: k = 3).
"""

from collections.abc import Iterator

import numpy as np

from ..core.errors import BenchError

NEIGHBOURS = 3
_BLOCK = 1000


class Manifold:
    """Points (N, d), each with the squared distance to its ``k``-th nearest other point.

    Distances are float64; the ADM evaluator's are float16. Raises BenchError for ``k`` points or
    fewer.
    """

    def __init__(self, points: np.ndarray, k: int = NEIGHBOURS) -> None:
        if len(points) <= k:
            raise BenchError(f"precision and recall with k={k} need over {k} images")
        self.points = np.asarray(points, dtype=np.float64)
        blocks = _squared(self.points, self.points)
        # Rank 0 is the point itself, at distance zero.
        self.radii = np.concatenate([np.partition(block, k, axis=1)[:, k] for block in blocks])

    def share_inside(self, points: np.ndarray) -> float:
        """Return the share of ``points`` (n, d) in at least one ball, its surface included."""
        points = np.asarray(points, dtype=np.float64)
        blocks = _squared(points, self.points)
        inside = sum((block <= self.radii).any(axis=1).sum() for block in blocks)
        return float(inside) / len(points)


def _squared(points: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Yield squared distances in blocks (b, len(others)), never all of them at once."""
    norms = np.einsum("nd,nd->n", others, others)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        distances = np.einsum("nd,nd->n", block, block)[:, None] + norms - 2.0 * (block @ others.T)
        yield np.clip(distances, 0.0, None, out=distances)
