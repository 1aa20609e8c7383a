"""All distribution metrics of one set of images against one reference."""

from collections.abc import Iterator

import numpy as np
from scipy.special import entr, log_softmax

from ..core.errors import BenchError, Diverged
from ..core.jackknife import FEWEST_IMAGES, Estimate, balanced_subset, deal_groups
from ..core.settings import digest_of
from .features import FeatureNetwork, Features, FeatureSet
from .precision_recall import NEIGHBOURS, Manifold
from .reference import Reference
from .rows import Rows, as_rows

SPLIT = 5000
MOST_COMPARED = 50_000  # images that precision, recall and KID compare with each other
FEWEST_OF_INFINITY = 4  # images per feature, below which the bias of an FD is not yet c / N


def score(
    features: Features | FeatureSet[Rows], reference: Reference, classes: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Compute the metrics that ``features`` and ``reference`` allow, by key.

    ``fd`` and ``sfd`` (Frechet distances of pooled and spatial features), ``fd_infinity``, ``is``
    (inception score), ``precision``, ``recall``, ``kid``. Absent are those whose input the network
    or the reference lacks, those that ``missing`` names, and ``fd_infinity`` of fewer than four
    images for each pooled feature. Replicates, which precision and recall do not have, leave out
    one of the groups of ``deal_groups`` from ``classes`` (N,).

    Features are read kind by kind, in blocks. Those three that compare images with each other hold
    pooled features in memory, of at most ``MOST_COMPARED`` images: see ``subsample``.

    Raises Diverged where a feature is not finite, BenchError for fewer than two images.
    """
    pooled, spatial, logits = (
        None if each is None else _finite(name, as_rows(each))
        for name, each in features._asdict().items()
    )
    assert pooled is not None  # every network has these
    if pooled.count < 2:
        raise BenchError(f"metrics need at least 2 images, not {pooled.count}")
    groups = deal_groups(pooled.count, classes)
    scores = {"fd": reference.pooled.leave_groups_out(pooled, groups)}
    if groups is not None and pooled.count >= FEWEST_OF_INFINITY * pooled.dimension:
        scores["fd_infinity"] = at_infinity(scores["fd"], groups)
    if spatial is not None and reference.spatial is not None:
        scores["sfd"] = reference.spatial.leave_groups_out(spatial, groups)
    if logits is not None:
        scores["is"] = inception_score(logits, groups)
    if reference.features is not None:
        scores |= _of_pairs(pooled, reference, classes)
    for key, found in scores.items():
        if not np.isfinite([found.value, *found.replicates]).all():
            raise Diverged(f"{key} is not finite: features are too large for it")
    return scores


def subsample(count: int, classes: np.ndarray | None = None) -> np.ndarray | None:
    """Return which of ``count`` images precision, recall and KID are of; None: of all.

    These are ``MOST_COMPARED`` images, as many as the ADM evaluator compares, balanced by
    ``classes`` (N,). Nothing is drawn.
    """
    if count <= MOST_COMPARED:
        return None
    return balanced_subset(count, MOST_COMPARED, classes)


def _of_pairs(
    pooled: Rows, reference: Reference, classes: np.ndarray | None
) -> dict[str, Estimate]:
    """Return the metrics that compare images with each other."""
    chosen, scores = subsample(pooled.count, classes), dict[str, Estimate]()
    points = pooled.array(chosen)
    classes = classes if classes is None or chosen is None else classes[chosen]
    if reference.manifold is not None and len(points) > NEIGHBOURS:
        samples = Manifold(points, arithmetic=reference.arithmetic)
        precision, recall = reference.manifold.precision_recall(samples)
        scores |= {"precision": Estimate(precision), "recall": Estimate(recall)}
    if reference.kernel is not None:
        groups = deal_groups(len(points), classes)
        scores["kid"] = reference.kernel.distance(points, groups)
    return scores


def _finite(name: str, rows: Rows) -> Rows:
    """Return rows that raise Diverged, as they are read, for one that is not finite."""

    def checked() -> Iterator[np.ndarray]:
        start = 0
        for part in rows.parts():
            bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
            if len(bad):
                raise Diverged(f"the {name} features of image {start + bad[0]} are not finite")
            yield part
            start += len(part)

    return Rows(rows.count, rows.dimension, checked)


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
    """Return a sentence on each thing that ``count`` images are too few or too many for.

    That includes the extrapolation for features of a ``dimension``.
    """
    fewest = {"precision and recall": NEIGHBOURS + 1, "intervals": FEWEST_IMAGES}
    if dimension:
        fewest["values at infinitely many images"] = FEWEST_OF_INFINITY * dimension
    notes = tuple(
        f"{what} are left out: they need {needed} images, not {count}"
        for what, needed in fewest.items()
        if count < needed
    )
    if count > MOST_COMPARED:
        notes += (
            f"precision, recall and KID are of {MOST_COMPARED:,} of the {count:,} images, balanced "
            "by class",
        )
    return notes


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
    logits: np.ndarray | Rows, groups: np.ndarray | None = None, split: int = SPLIT
) -> Estimate:
    """Return exp(mean KL(p(y|x) | p(y))) of ``logits`` (N, c), averaged over splits of images.

    Splits of ``split`` images are contiguous in stored order; a shorter last split counts as one
    (Salimans et al. 2016, splits as in the ADM evaluator). A replicate leaves one of ``groups``
    (N,) out of every split, so that the number of splits stays.
    """
    rows = as_rows(logits)
    dealt = np.zeros(rows.count, dtype=np.int64) if groups is None else groups
    part, count = np.arange(rows.count) // split, int(dealt.max()) + 1
    splits = int(part[-1]) + 1
    sizes, entropies = np.zeros((splits, count), dtype=np.int64), np.zeros((splits, count))
    sums = np.zeros((splits, count, rows.dimension))
    np.add.at(sizes, (part, dealt), 1)
    for place, block in rows.blocks():  # np.add.at adds one row after the other, in this order
        log_p = log_softmax(np.asarray(block, dtype=np.float64), axis=1)
        p = np.exp(log_p)
        np.add.at(sums, (part[place], dealt[place]), p)
        np.add.at(entropies, (part[place], dealt[place]), entr(p).sum(axis=1))
    values, left_out = [], []
    for of_split in zip(sizes, sums, entropies, strict=True):
        totals = [each.sum(axis=0) for each in of_split]
        values.append(_exponential(*totals))
        rest = [total - each for total, each in zip(totals, of_split, strict=True)]
        left_out.append([_exponential(*group) for group in zip(*rest, strict=True)])
    replicates = () if groups is None else tuple(np.mean(left_out, axis=0).tolist())
    return Estimate(float(np.mean(values)), replicates)


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
    if count > MOST_COMPARED:
        facts["compared"] = MOST_COMPARED
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
