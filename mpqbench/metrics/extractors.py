"""Feature networks by name; each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..core.errors import BenchError, unknown
from .features import FeatureNetwork


def _fashion(weights: Path | None, device: str) -> FeatureNetwork:
    from .networks import FashionNetwork

    return FashionNetwork(weights, device)


def _inception(weights: Path | None, device: str) -> FeatureNetwork:
    from .networks import InceptionNetwork

    return InceptionNetwork(weights, device)


def _clean_fid(weights: Path | None, device: str) -> FeatureNetwork:
    from .clean_fid import CleanFidNetwork

    return CleanFidNetwork(weights, device)


EXTRACTORS: dict[str, Callable[[Path | None, str], FeatureNetwork]] = {
    "fashion": _fashion,
    "inception-adm": _inception,
    "clean-fid": _clean_fid,
}


def load_extractor(
    name: str, weights: str | Path | None = None, device: str = "cpu"
) -> FeatureNetwork:
    """The feature network ``name`` with its own weights, or with those in the file ``weights``.

    ``fashion`` ships with the package; ``inception-adm`` and ``clean-fid`` fetch their weights
    once, where no file is given. Raises BenchError for an unknown name, a missing or unfit file,
    a failed download, and a package or device that is not there.
    """
    if name not in EXTRACTORS:
        raise unknown("feature network", name, EXTRACTORS)
    path = None if weights is None else Path(weights)
    if path is not None and not path.is_file():
        raise BenchError(f"{path} does not exist: --feature-weights takes a file of weights")
    return EXTRACTORS[name](path, device)
