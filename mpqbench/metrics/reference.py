"""The reference that images are scored against: statistics and features of a set of images."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import BenchError
from ..core.settings import digest_of
from . import npz
from .features import FeatureNetwork, Features
from .frechet import Gaussian, Moments
from .images import open_images
from .kid import KernelReference
from .precision_recall import Manifold

EMBEDDED = "embedded"
_STATISTICS = ("mu", "sigma", "mu_s", "sigma_s", "features")
_FACTS = ("count", "extractor", "weights", "digest")


@dataclass(frozen=True, eq=False)
class Reference:
    """Gaussians of pooled and spatial features, and pooled features (n, d) for P/R and KID.

    ``features`` may be of fewer images than the Gaussians. ``digest`` identifies the content. What
    a metric derives from the reference is computed once, on first use.
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
    ``open_images``. Raises BenchError for a missing or damaged file, and for one of another network
    or of other dimensions.
    """
    if str(spec) == EMBEDDED:
        path = Path(str(files("mpqbench.assets"))) / "features" / "reference.npz"
        return _of_statistics(EMBEDDED, path, extractor)
    path = Path(spec)
    if path.is_file() and "mu" in npz.keys(path):
        return _of_statistics(path.name, path, extractor)
    source = open_images(path)
    return reference_of(extractor.extract(source), path.name, source.digest())


def reference_of(features: Features, name: str, digest: str) -> Reference:
    """Compute a reference from the features of its images; ``digest`` is that of the images."""
    pooled = Moments.of(features.pooled).gaussian()
    spatial = None if features.spatial is None else Moments.of(features.spatial).gaussian()
    return Reference(name, digest, pooled, spatial, features.pooled)


def _of_statistics(name: str, path: Path, extractor: FeatureNetwork) -> Reference:
    where = f"reference {name}"
    arrays, facts = npz.load(path, _STATISTICS), npz.load(path, _FACTS)
    facts = {key: value.item() for key, value in facts.items() if value.size == 1}
    _check_network(where, facts, extractor)
    pooled = _gaussian(where, arrays, "", extractor)
    spatial = None
    if "mu_s" in arrays and extractor.spatial_dimension is not None:
        spatial = _gaussian(where, arrays, "_s", extractor)
    if "count" in facts:
        pooled = replace(pooled, count=int(facts["count"]))
    content = {key: _array_digest(value) for key, value in arrays.items()}
    features = arrays.get("features")
    if features is not None:
        _array(where, arrays, "features", (*features.shape[:1], extractor.dimension))
    if features is None and "arr_0" in npz.keys(path):
        images = open_images(path)
        content["images"] = images.digest()
        features = extractor.extract(images).pooled
    digest = str(facts.get("digest", digest_of(content)))
    return Reference(name, digest, pooled, spatial, features)


def _check_network(where: str, facts: Mapping[str, Any], extractor: FeatureNetwork) -> None:
    made_by = facts.get("extractor")
    if made_by is None and extractor.stamped_only:
        raise BenchError(
            f"{where} does not say which network made it: {extractor.name} needs a reference of "
            "its own, or the reference images"
        )
    if made_by is not None and made_by != extractor.name:
        raise BenchError(f"{where} was made with {made_by}, not {extractor.name}")
    if facts.get("weights", extractor.digest) != extractor.digest:
        raise BenchError(
            f"{where} was made with weights {facts['weights']} of {extractor.name}, not "
            f"{extractor.digest}"
        )


def _gaussian(
    where: str, arrays: Mapping[str, np.ndarray], suffix: str, extractor: FeatureNetwork
) -> Gaussian:
    dimension = extractor.spatial_dimension if suffix else extractor.dimension
    mean, covariance = (
        _array(where, arrays, f"{key}{suffix}", shape).astype(np.float64)
        for key, shape in (("mu", (dimension,)), ("sigma", (dimension, dimension)))
    )
    return Gaussian(None, mean, covariance)


def _array(
    where: str, arrays: Mapping[str, np.ndarray], key: str, wanted: tuple[int | None, ...]
) -> np.ndarray:
    """Return an array of the file, or raise BenchError where it does not fit the network."""
    if key not in arrays:
        raise BenchError(f"{where} has no '{key}'")
    array = arrays[key]
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise BenchError(f"{where}: '{key}' is not an array of finite floats")
    if array.shape != wanted:
        shape = f"has shape {array.shape}, not {wanted} as the network gives"
        raise BenchError(f"{where}: '{key}' {shape}: use a reference made with it")
    return array


def _array_digest(array: np.ndarray) -> str:
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
