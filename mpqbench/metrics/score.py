"""All distribution metrics of one set of images against one reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import BenchError, Diverged
from ..core.settings import digest_of
from .features import FeatureNetwork, Features
from .inception_score import inception_score
from .jackknife import GROUPS, Estimate, deal_groups, half_width
from .precision_recall import NEIGHBOURS, Manifold, precision_recall
from .reference import Reference


@dataclass(frozen=True)
class Score:
    """A metric: ``value``, half width of its 95% interval, leave-group-out replicates.

    Without groups, ``ci`` is None and ``replicates`` is empty.
    """

    value: float
    ci: float | None = None
    replicates: tuple[float, ...] = ()


def score(
    features: Features,
    reference: Reference,
    classes: np.ndarray | None = None,
    groups: int = GROUPS,
) -> dict[str, Score]:
    """The metrics that ``features`` and ``reference`` allow, by key.

    ``fd`` and ``sfd`` (Frechet distance of pooled and spatial features), ``is`` (inception
    score), ``precision``, ``recall``, ``kid``. Missing are: ``sfd`` and ``is`` where the network
    has no spatial features or logits; ``sfd``, ``precision``, ``recall`` and ``kid`` where the
    reference lacks what they need; ``precision`` and ``recall`` with 3 images or fewer. Replicates
    leave out one of ``groups`` groups, dealt by ``classes`` (N,) as ``deal_groups`` says; precision
    and recall have none.

    Raises Diverged where a feature is not finite, BenchError for dimensions that do not fit.
    """
    _check_finite(features)
    dealt = deal_groups(len(features.pooled), classes, groups)
    scores = {"fd": _score(reference.frechet.leave_groups_out(features.pooled, dealt))}
    if features.spatial is not None and reference.spatial_frechet is not None:
        estimate = reference.spatial_frechet.leave_groups_out(features.spatial, dealt)
        scores["sfd"] = _score(estimate)
    if features.logits is not None:
        scores["is"] = _score(inception_score(features.logits, dealt))
    if reference.manifold is not None and len(features.pooled) > NEIGHBOURS:
        shares = precision_recall(Manifold(features.pooled), reference.manifold)
        scores["precision"] = Score(shares.precision)
        scores["recall"] = Score(shares.recall)
    if reference.kernel is not None:
        scores["kid"] = _score(reference.kernel.distance(features.pooled, dealt))
    return scores


def metric_fingerprint(extractor: FeatureNetwork, count: int, reference: Reference) -> str:
    """Digest of what a value depends on beside the images: rows that differ are never ranked."""
    return digest_of(
        {
            "extractor": extractor.name,
            "weights": extractor.digest,
            "count": count,
            "reference": reference.digest,
        }
    )


def labels(extractor: str) -> dict[str, str]:
    """Printed name of each key of ``score``: FID is said of the Inception network only."""
    frechet, spatial = {
        "inception-adm": ("FID", "sFID"),
        "clean-fid": ("FID-clean", "sFID-clean"),
    }.get(extractor, ("FD", "sFD"))
    return {
        "fd": frechet,
        "sfd": spatial,
        "is": "IS",
        "precision": "Precision",
        "recall": "Recall",
        "kid": "KID",
    }


def _score(estimate: Estimate) -> Score:
    return Score(estimate.value, half_width(estimate.replicates), estimate.replicates)


def _check_finite(features: Features) -> None:
    if len(features.pooled) < 2:
        raise BenchError(f"metrics need at least 2 images, not {len(features.pooled)}")
    for key, values in features._asdict().items():
        if values is None or np.isfinite(values).all():
            continue
        first = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise Diverged(f"the {key} features of image {first} are not finite")
