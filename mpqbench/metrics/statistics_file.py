"""An ``.npz`` file of means and covariances of unknown origin, checked before it is used."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import BenchError
from . import npz
from .precision_recall import NEIGHBOURS

FEWEST = NEIGHBOURS + 1  # images, or features, that a reference needs for every metric
_LARGEST = 1e30  # absolute value: the cubic kernel of larger ones overflows
_LONGEST = 400  # bytes of a text


@dataclass(frozen=True)
class StatisticsFile:
    """A file of statistics; its methods raise BenchError for what cannot be such."""

    where: str
    path: Path
    keys: tuple[str, ...]

    def text(self, key: str) -> str | None:
        """Return a text of one line, ``None`` where there is none."""
        if key not in self.keys:
            return None
        header = npz.header(self.path, key)
        if header.shape not in ((), (1,)) or not 0 < header.dtype.itemsize <= _LONGEST:
            raise BenchError(f"{self.where}: '{key}' is not one short text")
        value = npz.load(self.path, key).item()
        if not isinstance(value, str):
            raise BenchError(f"{self.where}: '{key}' is not a text")
        return value

    def count(self) -> int | None:
        """Return the number of images of the statistics, ``None`` where it is not said."""
        if "count" not in self.keys:
            return None
        header = npz.header(self.path, "count")
        if header.shape not in ((), (1,)) or header.dtype.kind not in "iu":
            raise BenchError(f"{self.where}: 'count' is not one whole number of images")
        count = int(npz.load(self.path, "count").item())
        if count < 2:
            raise BenchError(
                f"{self.where}: 'count' is {count}: statistics are of 2 images or more"
            )
        return count

    def gaussian_arrays(self, suffix: str, dimension: int) -> dict[str, np.ndarray]:
        """Return mean and covariance, float64, by the names of their arrays."""
        mean, covariance = f"mu{suffix}", f"sigma{suffix}"
        return {
            mean: self._floats(mean, (dimension,)).astype(np.float64),
            covariance: self._covariance(covariance, dimension),
        }

    def features(self, dimension: int, count: int | None) -> np.ndarray:
        """Return the features of single images (n, ``dimension``)."""
        length = (npz.header(self.path, "features").shape or (0,))[0]
        features = self._floats("features", (length, dimension))
        if length < FEWEST:
            raise BenchError(
                f"{self.where} has 'features' of {length} images, not {FEWEST} or more"
            )
        if count is not None and length > count:
            raise BenchError(
                f"{self.where} has 'features' of {length} images, but a 'count' of {count}"
            )
        return features

    def _covariance(self, key: str, dimension: int) -> np.ndarray:
        stored = self._floats(key, (dimension, dimension))
        covariance = stored.astype(np.float64)
        # Many files of float64 were computed in float32; ten roundings of every entry at most.
        rounding = max(np.finfo(stored.dtype).eps, np.finfo(np.float32).eps)
        noise = 10 * float(rounding) * float(np.linalg.norm(covariance))
        asymmetry = float(np.abs(covariance - covariance.T).max())
        if asymmetry > noise:
            raise BenchError(
                f"{self.where}: '{key}' is not symmetric: two entries that should be equal differ "
                f"by {asymmetry:.3g}"
            )
        covariance = (covariance + covariance.T) / 2
        least = float(np.linalg.eigvalsh(covariance)[0])
        if least < -noise:
            raise BenchError(
                f"{self.where}: '{key}' is no covariance: its least eigenvalue is {least:.3g}, "
                "below zero"
            )
        return covariance

    def _floats(self, key: str, wanted: tuple[int, ...]) -> np.ndarray:
        """Return an array of the file where its header and its values fit the network."""
        if key not in self.keys:
            raise BenchError(f"{self.where} has no '{key}'")
        header = npz.header(self.path, key)
        if not np.issubdtype(header.dtype, np.floating):
            raise BenchError(f"{self.where}: '{key}' is of type {header.dtype}, not of floats")
        if header.shape != wanted:
            shape = f"has shape {header.shape}, not {wanted} as the network gives"
            raise BenchError(f"{self.where}: '{key}' {shape}: use a reference made with it")
        array = npz.load(self.path, key)
        if not (np.abs(array) < np.float64(_LARGEST)).all():
            raise BenchError(f"{self.where}: '{key}' is not an array of finite floats below 1e30")
        return array
