"""All distribution metrics of one set of images against one reference."""

import numpy as np

from ..core.errors import BenchError, Diverged
from ..core.jackknife import Estimate, deal_groups
from ..core.settings import digest_of
from .features import FeatureNetwork, Features
from .inception_score import inception_score
from .precision_recall import NEIGHBOURS, Manifold
from .reference import Reference


def score(
    features: Features, reference: Reference, classes: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Compute the metrics that ``features`` and ``reference`` allow, by key.

    ``fd`` and ``sfd`` (Frechet distances of pooled and spatial features), ``is`` (inception score),
    ``precision``, ``recall``, ``kid``. Absent are those whose input the network or the reference
    lacks, and ``precision`` and ``recall`` for 3 images or fewer. Replicates, which precision and
    recall do not have, leave out one of the groups of ``deal_groups`` from ``classes`` (N,).

    Raises Diverged where a feature is not finite, BenchError for fewer than two images.
    """
    if len(features.pooled) < 2:
        raise BenchError(f"metrics need at least 2 images, not {len(features.pooled)}")
    for key, values in features._asdict().items():
        if values is not None and not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise Diverged(f"the {key} features of image {first} are not finite")
    groups = deal_groups(len(features.pooled), classes)
    scores = {"fd": reference.pooled.leave_groups_out(features.pooled, groups)}
    if features.spatial is not None and reference.spatial is not None:
        scores["sfd"] = reference.spatial.leave_groups_out(features.spatial, groups)
    if features.logits is not None:
        scores["is"] = inception_score(features.logits, groups)
    if reference.manifold is not None and len(features.pooled) > NEIGHBOURS:
        samples = Manifold(features.pooled)
        scores["precision"] = Estimate(reference.manifold.share_inside(samples.points))
        scores["recall"] = Estimate(samples.share_inside(reference.manifold.points))
    if reference.kernel is not None:
        scores["kid"] = reference.kernel.distance(features.pooled, groups)
    return scores


def metric_fingerprint(extractor: FeatureNetwork, count: int, reference: Reference) -> str:
    """Return the digest of all that metrics depend on: only rows with equal ones are ranked."""
    network = {"extractor": extractor.name, "weights": extractor.digest}
    return digest_of(network | {"count": count, "reference": reference.digest})


def labels(extractor: str) -> dict[str, str]:
    """Return the printed name of each metric; only Inception's Frechet distance is called FID."""
    frechet = {"inception-adm": "FID", "clean-fid": "FID-clean"}.get(extractor, "FD")
    others = {"is": "IS", "precision": "Precision", "recall": "Recall", "kid": "KID"}
    return {"fd": frechet, "sfd": f"s{frechet}", **others}
