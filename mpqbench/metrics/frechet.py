"""Frechet distance between Gaussians, exact in float64.

d^2 = |m - m_ref|^2 + Tr S + Tr S_ref - 2 Tr sqrt(S S_ref) (Dowson and Landau 1982; as FID: Heusel
et al. 2017). With S_ref = A A^T, the eigenvalues of S S_ref are those of the symmetric A^T S A, so
that no square root of a general matrix is needed and no complex number appears.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..core.errors import BenchError
from ..core.jackknife import Estimate
from .rows import Rows, as_rows


@dataclass(frozen=True, eq=False)
class Gaussian:
    """``mean`` (d,), ``covariance`` (d, d), float64, of ``count`` points (None: unknown)."""

    count: int | None
    mean: np.ndarray
    covariance: np.ndarray

    @cached_property
    def factor(self) -> np.ndarray:
        """A (d, rank) with A A^T equal to the covariance."""
        eigenvalues, vectors = np.linalg.eigh(self.covariance)
        # Eigenvalues below rounding noise may be negative; their square roots are meaningless.
        noise = max(eigenvalues[-1], 0.0) * len(eigenvalues) * np.finfo(np.float64).eps
        kept = eigenvalues > noise
        return vectors[:, kept] * np.sqrt(eigenvalues[kept])

    def distance(self, other: "Gaussian") -> float:
        """Return the squared Frechet distance to ``other``; rounding may make zero negative."""
        product = self.factor.T @ other.covariance @ self.factor
        trace = float(np.trace(other.covariance))
        return self._assemble(other.mean, trace, np.linalg.eigvalsh(product))

    def distance_of_few(self, points: np.ndarray) -> float:
        """Return the squared distance to the Gaussian of ``points`` (n, d), faster where n < d.

        Non-zero eigenvalues of A^T S A are those of the Gram matrix of the centred points times A.
        """
        points = np.asarray(points, dtype=np.float64)
        mean, degrees = points.mean(axis=0), len(points) - 1
        centred = points - mean
        rows = centred @ self.factor
        eigenvalues = np.linalg.eigvalsh(rows @ rows.T / degrees)
        return self._assemble(mean, float(np.sum(centred**2)) / degrees, eigenvalues)

    def leave_groups_out(self, points: np.ndarray | Rows, groups: np.ndarray | None) -> Estimate:
        """Return the distance to ``points`` (n, d), and without each group of ``groups`` (n,).

        Fewer points than dimensions use the Gram matrix, more use moments. Both are exact and agree
        to about 1e-6 of the trace, the square root of rounding noise. Memory is that of a matrix
        (d, d) for each group and of a block of points, however many points there are.
        """
        rows = as_rows(points)
        if rows.count < rows.dimension:
            few = np.asarray(rows.array(), dtype=np.float64)
            members = [] if groups is None else [groups == g for g in range(int(groups.max()) + 1)]
            left_out = tuple(self.distance_of_few(few[~member]) for member in members)
            return Estimate(self.distance_of_few(few), left_out)
        if groups is None:
            return Estimate(self.distance(Moments.of(rows).gaussian()))
        parts = Moments.of_groups(rows, groups)
        total = sum(parts[1:], parts[0])
        left_out = tuple(self.distance((total - part).gaussian()) for part in parts)
        return Estimate(self.distance(total.gaussian()), left_out)

    def _assemble(self, mean: np.ndarray, trace: float, eigenvalues: np.ndarray) -> float:
        shift = mean - self.mean
        traces = trace + float(np.trace(self.covariance))
        root = float(np.sqrt(np.clip(eigenvalues, 0.0, None)).sum())
        return float(shift @ shift) + traces - 2.0 * root


@dataclass(frozen=True, eq=False)
class Moments:
    """Number, sum (d,) and sum of outer products (d, d) of points, float64, to add and subtract."""

    count: int
    sum: np.ndarray
    outer: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray | Rows) -> "Moments":
        """Compute the moments of ``points`` (n, d)."""
        rows = as_rows(points)
        return cls.of_groups(rows, np.zeros(rows.count, dtype=np.int64))[0]

    @classmethod
    def of_groups(cls, points: np.ndarray | Rows, groups: np.ndarray) -> list["Moments"]:
        """Compute the moments of each group of ``groups`` (n,) in one pass over ``points``."""
        rows = as_rows(points)
        numbers, dimension = np.bincount(groups), rows.dimension
        sums = np.zeros((len(numbers), dimension))
        outers = [np.zeros((dimension, dimension)) for _ in numbers]
        for place, block in rows.blocks():
            for group, outer in enumerate(outers):
                members = np.asarray(block[groups[place] == group], dtype=np.float64)
                sums[group] += members.sum(axis=0)
                outer += members.T @ members
        merged = zip(numbers.tolist(), sums, outers, strict=True)
        return [cls(number, total, outer) for number, total, outer in merged]

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.sum + other.sum, self.outer + other.outer)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.count - other.count, self.sum - other.sum, self.outer - other.outer)

    def gaussian(self) -> Gaussian:
        """Return mean and covariance (over n - 1). Raises BenchError for fewer than two points."""
        if self.count < 2:
            raise BenchError(f"a covariance needs at least 2 images, not {self.count}")
        mean = self.sum / self.count
        scatter = self.outer - self.count * np.outer(mean, mean)
        return Gaussian(self.count, mean, scatter / (self.count - 1))
