"""Features of many images, read a block at a time: memory does not grow with their number."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .images import regroup

# Rows of a block. Sums are taken block by block and these are added in order: results depend
# neither on where parts begin nor on who made them.
BLOCK = 4096
TILE_ROWS, TILE_COLUMNS = 1000, 10_000  # of a matrix of pairs: 80 MB in float64


@dataclass(frozen=True, eq=False)
class Rows:
    """``count`` rows of ``dimension`` numbers; every call of ``parts`` reads them anew, in order.

    A part is an array (n, ``dimension``) of any length, such as the features of one shard.
    """

    count: int
    dimension: int
    parts: Callable[[], Iterable[np.ndarray]]

    @classmethod
    def of(cls, array: np.ndarray) -> "Rows":
        """Return the rows of an array (n, d)."""
        count, dimension = array.shape
        return cls(count, dimension, lambda: (array[each] for each in slices(len(array), BLOCK)))

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield blocks of ``BLOCK`` rows, the last shorter, each behind its place."""
        start = 0
        for (block,) in regroup(((part,) for part in self.parts()), BLOCK):
            yield slice(start, start + len(block)), block
            start += len(block)

    def array(self, chosen: np.ndarray | None = None) -> np.ndarray:
        """Return all rows, or those that ``chosen`` names, numbers in rising order."""
        if chosen is None:
            return np.concatenate(list(self.parts()))
        found = []
        for place, block in self.blocks():
            first, last = np.searchsorted(chosen, (place.start, place.stop))
            found.append(block[chosen[first:last] - place.start])
        return np.concatenate(found)


def as_rows(points: np.ndarray | Rows) -> Rows:
    """Return ``points`` as rows."""
    return points if isinstance(points, Rows) else Rows.of(np.asarray(points))


def slices(count: int, size: int) -> Iterator[slice]:
    """Yield the places of blocks of ``size``."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def products(points: np.ndarray, others: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield the inner products of all pairs, in float64, tile by tile: rows, columns, products.

    Memory does not grow with the number of ``points`` (n, d) and ``others`` (m, d).
    """
    for columns in slices(len(others), TILE_COLUMNS):
        transposed = np.asarray(others[columns], dtype=np.float64).T
        for rows in slices(len(points), TILE_ROWS):
            yield rows, columns, np.asarray(points[rows], dtype=np.float64) @ transposed


def squared_norms(points: np.ndarray) -> np.ndarray:
    """Return the inner product of each of ``points`` (n, d) with itself, float64 (n,)."""
    blocks = (np.asarray(points[each], dtype=np.float64) for each in slices(len(points), BLOCK))
    return np.concatenate([np.einsum("nd,nd->n", block, block) for block in blocks])
