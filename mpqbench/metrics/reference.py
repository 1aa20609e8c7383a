"""What images are judged against: statistics and features of a reference set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np

from ..core.errors import BenchError
from ..core.settings import digest_of
from . import npz
from .features import BATCH, FeatureNetwork, Features
from .frechet import FrechetReference, Gaussian, Moments
from .images import ImageSource, open_images
from .kid import KernelReference
from .precision_recall import Manifold

EMBEDDED = "embedded"
_STATISTICS = ["mu", "sigma", "mu_s", "sigma_s", "features"]
_FACTS = ["count", "extractor", "weights", "digest"]


@dataclass(frozen=True, eq=False)
class Reference:
    """Gaussians of pooled and spatial features, and pooled features (n, d) for P/R and KID.

    ``count`` is the number of images behind the Gaussians (None: the file does not say);
    ``features`` may be of fewer. ``digest`` names the content. What a metric derives from the
    reference is computed once, on first use.
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


def load_reference(
    spec: str | Path,
    extractor: FeatureNetwork,
    device: str | None = None,
    batch_size: int = BATCH,
    advance: Callable[[int], None] | None = None,
) -> Reference:
    """The reference ``spec`` as ``extractor`` sees it.

    ``embedded`` is the packaged file. A ``.npz`` with ``mu`` and ``sigma`` holds statistics of any
    float type, as ours and the ADM evaluator's do (``mu_s``, ``sigma_s``, ``features`` or images
    ``arr_0`` for P/R and KID are optional); any other ``.npz`` or folder holds images, see
    ``open_images``. ``device``, ``batch_size`` and ``advance`` are those of ``extract``.

    Raises BenchError where the file is missing or damaged, was made by another network, or has
    other dimensions than the extractor.
    """
    if str(spec) == EMBEDDED:
        asset = resources.files("mpqbench.assets") / "features" / "reference.npz"
        with resources.as_file(asset) as path:
            if not path.is_file():
                raise BenchError(f"the packaged reference {asset} is missing: reinstall mpqbench")
            return _from_statistics(EMBEDDED, path, extractor, None)

    def extract(source: ImageSource) -> Features:
        return extractor.extract(source, batch_size, device, advance)

    path = Path(spec)
    stored = npz.keys(path) if path.is_file() else []
    if "mu" not in stored:
        source = open_images(path)
        return reference_of(extract(source), path.name, source.digest())
    images = open_images(path) if "arr_0" in stored and "features" not in stored else None
    reference = _from_statistics(path.name, path, extractor, images)
    if images is None:
        return reference
    features = extract(images).pooled
    return Reference(
        reference.name, reference.digest, reference.pooled, reference.spatial, features
    )


def reference_of(features: Features, name: str, digest: str) -> Reference:
    """A reference computed from the features of its images; ``digest`` is that of the images."""
    pooled = Moments(features.pooled.shape[1]).add(features.pooled).statistics()
    spatial = None
    if features.spatial is not None:
        spatial = Moments(features.spatial.shape[1]).add(features.spatial).statistics()
    return Reference(name, digest, pooled, spatial, features.pooled)


def save_reference(reference: Reference, path: Path, extractor: FeatureNetwork) -> None:
    """Writes ``reference`` as our ``.npz``, stamped with the network that made it."""
    arrays: dict[str, np.ndarray] = {
        "mu": reference.pooled.mean,
        "sigma": reference.pooled.covariance,
        "extractor": np.array(extractor.name),
        "weights": np.array(extractor.digest),
        "digest": np.array(reference.digest),
    }
    if reference.count is not None:
        arrays["count"] = np.array(reference.count)
    if reference.spatial is not None:
        arrays["mu_s"] = reference.spatial.mean
        arrays["sigma_s"] = reference.spatial.covariance
    if reference.features is not None:
        arrays["features"] = reference.features
    with open(path, "wb") as stream:  # a name would get .npz appended
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _from_statistics(
    name: str, path: Path, extractor: FeatureNetwork, images: ImageSource | None
) -> Reference:
    arrays = npz.load(path, _STATISTICS)
    facts = {key: value.item() for key, value in npz.load(path, _FACTS).items() if value.size == 1}
    _same_network(name, facts, extractor)
    count = int(facts["count"]) if "count" in facts else None
    pooled = _gaussian(name, arrays, "mu", "sigma", count, extractor.dimension, extractor)
    spatial = None
    if "mu_s" in arrays and extractor.spatial_dimension is not None:
        wanted = extractor.spatial_dimension
        spatial = _gaussian(name, arrays, "mu_s", "sigma_s", count, wanted, extractor)
    features = arrays.get("features")
    if features is not None and (features.ndim, features.shape[-1]) != (2, extractor.dimension):
        raise BenchError(
            f"reference {name}: 'features' has shape {features.shape}, not (n, "
            f"{extractor.dimension}) as {extractor.name} gives"
        )
    content = {key: _array_digest(value) for key, value in arrays.items()}
    if images is not None:
        content["images"] = images.digest()
    digest = str(facts.get("digest", digest_of(content)))
    return Reference(name, digest, pooled, spatial, features)


def _gaussian(
    name: str,
    arrays: npz.Arrays,
    mean_key: str,
    covariance_key: str,
    count: int | None,
    wanted: int,
    extractor: FeatureNetwork,
) -> Gaussian:
    """Mean and covariance in float64, once they are known to fit each other and the extractor."""
    if covariance_key not in arrays:
        raise BenchError(f"reference {name} has '{mean_key}' but no '{covariance_key}'")
    mean, covariance = arrays[mean_key], arrays[covariance_key]
    for key, array in ((mean_key, mean), (covariance_key, covariance)):
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise BenchError(f"reference {name}: '{key}' is not an array of finite floats")
    found = mean.shape[0] if mean.ndim == 1 else -1
    if covariance.shape != (found, found):
        raise BenchError(
            f"reference {name}: '{mean_key}' {mean.shape} and '{covariance_key}' "
            f"{covariance.shape} do not fit: (d,) and (d, d) are needed"
        )
    if found != wanted:
        raise BenchError(
            f"reference {name} has {found} dimensions in '{mean_key}', {extractor.name} gives "
            f"{wanted}: it was made with another feature network"
        )
    return Gaussian(count, mean.astype(np.float64), covariance.astype(np.float64))


def _same_network(name: str, facts: dict[str, object], extractor: FeatureNetwork) -> None:
    """Raises BenchError where the file says, or must say and does not, which network made it."""
    made_by = facts.get("extractor")
    if made_by is None and extractor.stamped_only:
        raise BenchError(
            f"reference {name} does not say which network made it: {extractor.name} needs a "
            "reference of its own, or the reference images"
        )
    if made_by is not None and made_by != extractor.name:
        raise BenchError(f"reference {name} was made with {made_by}, not {extractor.name}")
    if facts.get("weights", extractor.digest) != extractor.digest:
        raise BenchError(
            f"reference {name} was made with weights {facts['weights']} of {extractor.name}, "
            f"not {extractor.digest}"
        )


def _array_digest(array: np.ndarray) -> str:
    head = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
