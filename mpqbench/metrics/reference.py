"""The reference that images are scored against: statistics and features of a set of images."""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..core.errors import BenchError
from ..core.settings import digest_of
from . import npz
from .features import FeatureNetwork, Features
from .frechet import Gaussian, Moments
from .images import open_images
from .kid import KernelReference
from .precision_recall import Arithmetic, Manifold
from .statistics_file import FEWEST, StatisticsFile

EMBEDDED = "embedded"
PACKAGED = {"emoji": "emoji-reference.npz"}  # by feature network; reference.npz of any other
_TEXTS = ("extractor", "weights")
_OLD = "digest"  # in files of older versions; digests are computed


@dataclass(frozen=True, eq=False)
class Reference:
    """Gaussians of pooled and spatial features, and pooled features (n, d) for P/R and KID.

    ``features`` may be of fewer images than the Gaussians. ``digest`` is computed from the content.
    ``arithmetic`` is that of precision and recall; ``notes`` are sentences on what of the reference
    is not read, was converted, or is too little. What a metric derives from the reference is
    computed once, on first use.
    """

    name: str
    digest: str
    pooled: Gaussian
    spatial: Gaussian | None = None
    features: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    arithmetic: Arithmetic = "float64"

    @property
    def count(self) -> int | None:
        return self.pooled.count

    @cached_property
    def manifold(self) -> Manifold | None:
        return (
            None if self.features is None else Manifold(self.features, arithmetic=self.arithmetic)
        )

    @cached_property
    def kernel(self) -> KernelReference | None:
        return None if self.features is None else KernelReference(self.features)


def load_reference(
    spec: str | Path, extractor: FeatureNetwork, recursive: bool = False
) -> Reference:
    """Load the reference ``spec`` for the features of ``extractor``.

    ``embedded`` is the packaged file. An ``.npz`` with ``mu`` and ``sigma`` holds statistics of any
    float type, as ours and the ADM evaluator's do; ``mu_s``, ``sigma_s``, and ``features`` or
    images ``arr_0`` for P/R and KID, are optional. Any other ``.npz`` or folder holds images, see
    ``open_images``. Raises BenchError for a missing or damaged file, for one of another network, of
    other dimensions or of fewer than 4 images, and for what cannot be the mean and the covariance
    of features.
    """
    if str(spec) == EMBEDDED:
        name = PACKAGED.get(extractor.name, "reference.npz")
        path = Path(str(files("mpqbench.assets"))) / "features" / name
        return _of_statistics(EMBEDDED, path, extractor)
    path = Path(spec)
    if os.path.isfile(path) and "mu" in npz.keys(path):
        return _of_statistics(path.name, path, extractor)
    source = open_images(path, recursive)
    if source.count < FEWEST:
        raise BenchError(f"reference {path.name} has {source.count} images, not {FEWEST} or more")
    reference = reference_of(extractor.extract(source), path.name, source.digest())
    return replace(reference, notes=source.report + reference.notes)


def reference_of(features: Features, name: str, digest: str) -> Reference:
    """Compute a reference from the features of its images; ``digest`` is that of the images."""
    if (problem := features.not_finite()) is not None:
        raise BenchError(f"reference {name}: {problem}")
    pooled = Moments.of(features.pooled).gaussian()
    spatial = None if features.spatial is None else Moments.of(features.spatial).gaussian()
    notes = _notes_on_size(name, pooled)
    return Reference(name, digest, pooled, spatial, features.pooled, notes)


def _notes_on_size(name: str, pooled: Gaussian) -> tuple[str, ...]:
    if pooled.count is None or pooled.count > len(pooled.mean):
        return ()
    return (
        f"reference {name} has {pooled.count} images for {len(pooled.mean)} features: its "
        "covariance is singular and distances to it are biased",
    )


def _of_statistics(name: str, path: Path, extractor: FeatureNetwork) -> Reference:
    file = StatisticsFile(f"reference {name}", path, tuple(npz.keys(path)))
    _check_network(file, extractor)
    arrays = file.gaussian_arrays("", extractor.dimension)
    pooled, spatial, content = Gaussian(file.count(), *arrays.values()), None, dict(arrays)
    if {"mu_s", "sigma_s"} & {*file.keys} and extractor.spatial_dimension is not None:
        arrays = file.gaussian_arrays("_s", extractor.spatial_dimension)
        spatial, content = Gaussian(None, *arrays.values()), content | arrays
    notes, features = _notes_on_size(name, pooled), None
    used = {*content, "count", *_TEXTS, _OLD}
    digests = {key: array_digest(value) for key, value in content.items()}
    if "features" in file.keys:
        features = file.features(extractor.dimension, pooled.count)
        digests["features"] = array_digest(features)
        used.add("features")
    elif "arr_0" in file.keys:
        features, digests["images"] = _features_of_images(file, extractor)
        used.add("arr_0")
    if unused := [key for key in file.keys if key not in used]:
        notes += (f"{file.where}: not read: {', '.join(unused)}",)
    return Reference(name, digest_of(digests), pooled, spatial, features, notes)


def _features_of_images(file: StatisticsFile, extractor: FeatureNetwork) -> tuple[np.ndarray, str]:
    images = open_images(file.path)
    if images.count < FEWEST:
        raise BenchError(f"{file.where} has {images.count} images 'arr_0', not {FEWEST} or more")
    features = extractor.extract(images)
    if (problem := features.not_finite()) is not None:
        raise BenchError(f"{file.where}: {problem}")
    return features.pooled, images.digest()


def _check_network(file: StatisticsFile, extractor: FeatureNetwork) -> None:
    made_by, weights = (file.text(key) for key in _TEXTS)
    needed = _TEXTS if not extractor.is_published else _TEXTS[: int(extractor.stamped_only)]
    if any(file.text(key) is None for key in needed):
        raise BenchError(
            f"{file.where} does not say which network made it: {extractor.title} needs the "
            "reference images, or statistics with arrays 'extractor' (its name) and 'weights' (its "
            f"digest, {extractor.digest})"
        )
    if made_by is not None and made_by != extractor.name:
        raise BenchError(f"{file.where} was made with {made_by}, not {extractor.name}")
    if weights is not None and weights != extractor.digest:
        raise BenchError(
            f"{file.where} was made with weights {weights} of {extractor.name}, not "
            f"{extractor.digest}"
        )


def array_digest(array: np.ndarray) -> str:
    """Return the SHA-256 of the type, the shape and the values of an array."""
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
