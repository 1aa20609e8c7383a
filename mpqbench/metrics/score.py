"""All distribution metrics of one set of images against one reference."""

import numpy as np
from scipy.special import entr, log_softmax

from ..core.errors import BenchError, Diverged
from ..core.jackknife import FEWEST_IMAGES, Estimate, deal_groups
from ..core.settings import digest_of
from .features import FeatureNetwork, Features
from .precision_recall import NEIGHBOURS, Manifold
from .reference import Reference

SPLIT = 5000
FEWEST_OF_INFINITY = 4  # images per feature, below which the bias of an FD is not yet c / N


def score(
    features: Features, reference: Reference, classes: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Compute the metrics that ``features`` and ``reference`` allow, by key.

    ``fd`` and ``sfd`` (Frechet distances of pooled and spatial features), ``fd_infinity``, ``is``
    (inception score), ``precision``, ``recall``, ``kid``. Absent are those whose input the network
    or the reference lacks, those that ``missing`` names, and ``fd_infinity`` of fewer than four
    images for each pooled feature. Replicates, which precision and recall do not have, leave out
    one of the groups of ``deal_groups`` from ``classes`` (N,).

    Raises Diverged where a feature is not finite, BenchError for fewer than two images.
    """
    if len(features.pooled) < 2:
        raise BenchError(f"metrics need at least 2 images, not {len(features.pooled)}")
    if (problem := features.not_finite()) is not None:
        raise Diverged(problem)
    groups = deal_groups(len(features.pooled), classes)
    scores = {"fd": reference.pooled.leave_groups_out(features.pooled, groups)}
    if groups is not None and len(features.pooled) >= FEWEST_OF_INFINITY * features.pooled.shape[1]:
        scores["fd_infinity"] = at_infinity(scores["fd"], groups)
    if features.spatial is not None and reference.spatial is not None:
        scores["sfd"] = reference.spatial.leave_groups_out(features.spatial, groups)
    if features.logits is not None:
        scores["is"] = inception_score(features.logits, groups)
    if reference.manifold is not None and len(features.pooled) > NEIGHBOURS:
        samples = Manifold(features.pooled, arithmetic=reference.arithmetic)
        scores["precision"] = Estimate(reference.manifold.share_inside(samples.points))
        scores["recall"] = Estimate(samples.share_inside(reference.manifold.points))
    if reference.kernel is not None:
        scores["kid"] = reference.kernel.distance(features.pooled, groups)
    for key, found in scores.items():
        if not np.isfinite([found.value, *found.replicates]).all():
            raise Diverged(f"{key} is not finite: features are too large for it")
    return scores


def prompt_accuracy(ranks: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Estimate]:
    """Return the shares of images whose prompt a classifier names, by key.

    ``ranks`` (N,) are how many other names the classifier finds likelier: ``prompt_top1`` is the
    share of rank 0, ``prompt_top5`` that of ranks below 5. Replicates leave out one of ``groups``.
    """
    return {f"prompt_top{most}": mean_estimate(ranks < most, groups) for most in (1, 5)}


def mean_estimate(values: np.ndarray, groups: np.ndarray | None = None) -> Estimate:
    """Return the mean of ``values`` (N,); replicates leave out one of ``groups`` (N,)."""
    kept = [] if groups is None else [groups != group for group in range(groups.max() + 1)]
    return Estimate(float(values.mean()), tuple(float(values[each].mean()) for each in kept))


def missing(count: int, dimension: int = 0) -> tuple[str, ...]:
    """Return a sentence on each thing that ``count`` images are too few for.

    That includes the extrapolation for features of a ``dimension``.
    """
    fewest = {"precision and recall": NEIGHBOURS + 1, "intervals": FEWEST_IMAGES}
    if dimension:
        fewest["values at infinitely many images"] = FEWEST_OF_INFINITY * dimension
    return tuple(
        f"{what} are left out: they need {needed} images, not {count}"
        for what, needed in fewest.items()
        if count < needed
    )


def at_infinity(distance: Estimate, groups: np.ndarray) -> Estimate:
    """Extrapolate a Frechet distance of N images to infinitely many, linearly in 1/N.

    FD_N is about FD_inf + c / N (Chong and Forsyth 2020). The line goes through FD_N and the mean
    of the values without one of ``groups`` (N,): the bias-corrected jackknife, in which each image
    is left out once and nothing is drawn. Replicates are those of ``distance``, shifted: the means
    of pseudo-values have the interval of the jackknife (Tukey 1958).
    """
    count, sizes = len(groups), np.bincount(groups)
    mean = float(np.mean(distance.replicates))
    slope = (mean - distance.value) / (float(np.mean(1.0 / (count - sizes))) - 1.0 / count)
    value = distance.value - slope / count
    return Estimate(value, tuple(value + (each - mean) for each in distance.replicates))


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
    facts = {"extractor": extractor.name, "weights": extractor.digest, "count": count}
    if reference.arithmetic != "float64":
        facts["precision_recall"] = reference.arithmetic
    return digest_of(facts | {"reference": reference.digest})


def labels(network: str) -> dict[str, str]:
    """Return the printed name of each metric of the features of a network, by its ``title``.

    Only the published Inception's Frechet distance is called FID; the names of metrics from other
    weights have their digest behind them, as in ``FD (inception 1a2b3c4d)``.
    """
    frechet = {"inception-adm": "FID", "clean-fid": "FID-clean"}.get(network, "FD")
    names = {"fd": frechet, "fd_infinity": f"{frechet}-infinity", "sfd": f"s{frechet}"}
    names |= {"is": "IS", "precision": "Precision", "recall": "Recall", "kid": "KID"}
    names |= {"prompt_top1": "Prompt top-1", "prompt_top5": "Prompt top-5"}
    if " " not in network:
        return names
    weights = network.replace("inception-adm", "inception")
    return {key: f"{name} ({weights})" for key, name in names.items()}
