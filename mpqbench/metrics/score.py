"""All distribution metrics of one set of images against one reference."""

import numpy as np
from scipy.special import entr, log_softmax

from ..core.errors import BenchError, Diverged
from ..core.jackknife import Estimate, deal_groups
from ..core.settings import digest_of
from .features import FeatureNetwork, Features
from .precision_recall import NEIGHBOURS, Manifold
from .reference import Reference

SPLIT = 5000


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


def inception_score(
    logits: np.ndarray, groups: np.ndarray | None = None, split: int = SPLIT
) -> Estimate:
    """Return exp(mean KL(p(y|x) | p(y))) of ``logits`` (N, c), averaged over splits of images.

    Splits of ``split`` images are contiguous in stored order; a shorter last split counts as one
    (Salimans et al. 2016, splits as in the ADM evaluator). A replicate leaves one of ``groups``
    (N,) out of every split, so that the number of splits stays.
    """
    log_p = log_softmax(np.asarray(logits, dtype=np.float64), axis=1)
    p = np.exp(log_p)
    entropy = entr(p).sum(axis=1)
    dealt = np.zeros(len(p), dtype=np.int64) if groups is None else groups
    count = int(dealt.max()) + 1
    values, left_out = [], []
    for start in range(0, len(p), split):
        part = slice(start, start + split)
        sizes = np.bincount(dealt[part], minlength=count)
        sums = np.zeros((count, p.shape[1]))
        np.add.at(sums, dealt[part], p[part])
        entropies = np.bincount(dealt[part], weights=entropy[part], minlength=count)
        totals = sizes.sum(), sums.sum(axis=0), entropies.sum()
        values.append(_exponential(*totals))
        if groups is not None:
            rest = (totals[0] - sizes, totals[1] - sums, totals[2] - entropies)
            left_out.append([_exponential(*part_rest) for part_rest in zip(*rest, strict=True)])
    replicates = np.mean(left_out, axis=0).tolist() if left_out else []
    return Estimate(float(np.mean(values)), tuple(replicates))


def _exponential(size: int, sums: np.ndarray, entropy: float) -> float:
    """Return exp(H(mean p) - mean H(p)), equal to exp(mean KL), from sums over ``size`` images."""
    if size == 0:
        return 1.0  # the group left out was the whole split: no images, no information
    marginal = np.clip(sums / size, 0.0, None)
    return float(np.exp(entr(marginal).sum() - entropy / size))


def metric_fingerprint(extractor: FeatureNetwork, count: int, reference: Reference) -> str:
    """Return the digest of all that metrics depend on: only rows with equal ones are ranked."""
    network = {"extractor": extractor.name, "weights": extractor.digest}
    return digest_of(network | {"count": count, "reference": reference.digest})


def labels(extractor: str) -> dict[str, str]:
    """Return the printed name of each metric; only Inception's Frechet distance is called FID."""
    frechet = {"inception-adm": "FID", "clean-fid": "FID-clean"}.get(extractor, "FD")
    others = {"is": "IS", "precision": "Precision", "recall": "Recall", "kid": "KID"}
    return {"fd": frechet, "sfd": f"s{frechet}", **others}
