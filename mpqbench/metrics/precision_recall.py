"""Precision and recall of a manifold of k-nearest-neighbour balls (Kynkaanniemi et al. 2019)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..core.errors import BenchError

NEIGHBOURS = 3
_BLOCK = 1000


class PrecisionRecall(NamedTuple):
    """Share of samples in the reference manifold, and of references in the samples' manifold."""

    precision: float
    recall: float


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


def precision_recall(samples: Manifold, reference: Manifold) -> PrecisionRecall:
    """Return both shares (ADM evaluator: k = 3, all samples against the reference's images)."""
    return PrecisionRecall(
        precision=reference.share_inside(samples.points),
        recall=samples.share_inside(reference.points),
    )


def _squared(points: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """Yield squared distances in blocks (b, len(others)), never all of them at once."""
    norms = np.einsum("nd,nd->n", others, others)
    for start in range(0, len(points), _BLOCK):
        block = points[start : start + _BLOCK]
        own = np.einsum("nd,nd->n", block, block)
        distances = own[:, None] + norms - 2.0 * (block @ others.T)
        yield np.clip(distances, 0.0, None, out=distances)
