"""The reference that images are scored against: statistics and features of a set of images."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import BenchError
from ..core.settings import digest_of
from . import npz
from .features import FeatureNetwork, Features
from .frechet import FrechetReference, Gaussian, Moments
from .images import open_images
from .kid import KernelReference
from .precision_recall import Manifold

EMBEDDED = "embedded"
_STATISTICS = ("mu", "sigma", "mu_s", "sigma_s", "features")
_FACTS = ("count", "extractor", "weights", "digest")


@dataclass(frozen=True, eq=False)
class Reference:
    """Gaussians of pooled and spatial features, and pooled features (n, d) for P/R and KID.

    ``count`` is the number of images behind the Gaussians (None: unknown); ``features`` may be of
    fewer images. ``digest`` identifies the content. What a metric derives from the reference is
    computed once, on first use.
    """

    name: str
    digest: str
    pooled: Gaussian
    spatial: Gaussian | None = None
    features: np.ndarray | None = None

    @property
    def count(self) -> int | None:
        return self.pooled.count

    @cached_property
    def frechet(self) -> FrechetReference:
        return FrechetReference(self.pooled)

    @cached_property
    def spatial_frechet(self) -> FrechetReference | None:
        return None if self.spatial is None else FrechetReference(self.spatial)

    @cached_property
    def manifold(self) -> Manifold | None:
        return None if self.features is None else Manifold(self.features)

    @cached_property
    def kernel(self) -> KernelReference | None:
        return None if self.features is None else KernelReference(self.features)


def load_reference(spec: str | Path, extractor: FeatureNetwork) -> Reference:
    """Load the reference ``spec`` for the features of ``extractor``.

    ``embedded`` is the packaged file. An ``.npz`` with ``mu`` and ``sigma`` holds statistics of any
    float type, as ours and the ADM evaluator's do; ``mu_s``, ``sigma_s``, and ``features`` or
    images ``arr_0`` for P/R and KID, are optional. Any other ``.npz`` or folder holds images, see
    ``open_images``.

    Raises BenchError where the file is missing or damaged, was made by another network, or has
    other dimensions than the extractor.
    """
    if str(spec) == EMBEDDED:
        path = Path(str(files("mpqbench.assets"))) / "features" / "reference.npz"
        return StatisticsFile(EMBEDDED, path, extractor).reference()
    path = Path(spec)
    if path.is_file() and "mu" in npz.keys(path):
        return StatisticsFile(path.name, path, extractor).reference()
    source = open_images(path)
    return reference_of(extractor.extract(source), path.name, source.digest())


def reference_of(features: Features, name: str, digest: str) -> Reference:
    """Compute a reference from the features of its images; ``digest`` is that of the images."""
    pooled = Moments.of(features.pooled).gaussian()
    spatial = None if features.spatial is None else Moments.of(features.spatial).gaussian()
    return Reference(name, digest, pooled, spatial, features.pooled)


def save_reference(reference: Reference, path: Path, extractor: FeatureNetwork) -> None:
    """Write ``reference`` as an ``.npz`` file that names the network that made it."""
    spatial = reference.spatial
    arrays = {
        "mu": reference.pooled.mean,
        "sigma": reference.pooled.covariance,
        "extractor": extractor.name,
        "weights": extractor.digest,
        "digest": reference.digest,
        "count": reference.count,
        "mu_s": None if spatial is None else spatial.mean,
        "sigma_s": None if spatial is None else spatial.covariance,
        "features": reference.features,
    }
    present: Any = {key: np.asarray(value) for key, value in arrays.items() if value is not None}
    with open(path, "wb") as stream:  # numpy appends .npz to a name
        np.savez_compressed(stream, **present)


class StatisticsFile:
    """An ``.npz`` file of statistics, whose parts are checked against a feature network.

    Raises BenchError where the file names another network, or must name one and does not.
    """

    def __init__(self, name: str, path: Path, extractor: FeatureNetwork) -> None:
        self.name, self.path, self.extractor = name, path, extractor
        self.arrays = npz.load(path, _STATISTICS)
        facts = npz.load(path, _FACTS)
        self.facts = {key: value.item() for key, value in facts.items() if value.size == 1}
        self._check_network()

    def reference(self) -> Reference:
        """Return the whole reference. Raises BenchError where a part does not fit."""
        pooled = self._gaussian("mu", "sigma", self.extractor.dimension)
        spatial = None
        if "mu_s" in self.arrays and self.extractor.spatial_dimension is not None:
            spatial = self._gaussian("mu_s", "sigma_s", self.extractor.spatial_dimension)
        content = {key: _array_digest(value) for key, value in self.arrays.items()}
        features = self._features()
        if features is None and "arr_0" in npz.keys(self.path):
            images = open_images(self.path)
            content["images"] = images.digest()
            features = self.extractor.extract(images).pooled
        digest = str(self.facts.get("digest", digest_of(content)))
        return Reference(self.name, digest, pooled, spatial, features)

    def _check_network(self) -> None:
        name, extractor, made_by = self.name, self.extractor, self.facts.get("extractor")
        if made_by is None and extractor.stamped_only:
            raise BenchError(
                f"reference {name} does not say which network made it: {extractor.name} needs a "
                "reference of its own, or the reference images"
            )
        if made_by is not None and made_by != extractor.name:
            raise BenchError(f"reference {name} was made with {made_by}, not {extractor.name}")
        if self.facts.get("weights", extractor.digest) != extractor.digest:
            raise BenchError(
                f"reference {name} was made with weights {self.facts['weights']} of "
                f"{extractor.name}, not {extractor.digest}"
            )

    def _features(self) -> np.ndarray | None:
        features, dimension = self.arrays.get("features"), self.extractor.dimension
        if features is not None and (features.ndim, features.shape[-1]) != (2, dimension):
            raise BenchError(
                f"reference {self.name}: 'features' has shape {features.shape}, not (n, "
                f"{dimension}) as {self.extractor.name} gives"
            )
        return features

    def _gaussian(self, mean_key: str, covariance_key: str, dimension: int) -> Gaussian:
        """Return mean and covariance in float64, or raise BenchError where they do not fit."""
        where = f"reference {self.name}"
        if covariance_key not in self.arrays:
            raise BenchError(f"{where} has '{mean_key}' but no '{covariance_key}'")
        mean, covariance = self.arrays[mean_key], self.arrays[covariance_key]
        for key, array in ((mean_key, mean), (covariance_key, covariance)):
            if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
                raise BenchError(f"{where}: '{key}' is not an array of finite floats")
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise BenchError(
                f"{where}: '{mean_key}' {mean.shape} and '{covariance_key}' {covariance.shape} do "
                "not fit: (d,) and (d, d) are needed"
            )
        if len(mean) != dimension:
            raise BenchError(
                f"{where} has {len(mean)} dimensions in '{mean_key}', {self.extractor.name} gives "
                f"{dimension}: it was made with another feature network"
            )
        count = int(self.facts["count"]) if "count" in self.facts else None
        return Gaussian(count, mean.astype(np.float64), covariance.astype(np.float64))


def _array_digest(array: np.ndarray) -> str:
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
