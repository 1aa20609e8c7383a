"""The metrics of images on disk."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..core.errors import BenchError
from ..core.settings import Flag, Frozen, validate

if TYPE_CHECKING:
    from ..lab.partial import PartialScores


class ScoreSettings(Frozen):
    """How images are scored.

    ``features`` names the network and ``feature_weights`` its weights instead of the usual ones;
    ``recursive`` reads subfolders, too; ``precision_recall`` is the arithmetic of distances, of
    which ``adm-float16`` is that of the ADM evaluator.
    """

    features: str = "fashion"
    feature_weights: str | None = None
    recursive: Flag = False
    precision_recall: Literal["float64", "adm-float16"] = "float64"
    device: str = "cpu"


def score(
    images: str,
    reference: str,
    *,
    say: Callable[[str], object] = lambda line: None,
    **settings: Any,
) -> dict[str, Any]:
    """Return the distribution metrics of images, as plain data: what ``mpqbench score --json`` has.

    ``images`` is a folder of images or of sample shards, or an ``.npz`` file with ``arr_0``;
    ``reference`` is ``embedded``, a folder of images or an ``.npz`` file of images or statistics;
    ``settings`` are fields of ``ScoreSettings``. ``metrics`` has for each key ``label``, ``value``
    and ``ci``, the half-width of the 95 % interval. ``say`` is called with a sentence on what was
    read, skipped and converted before the images are scored. Raises BenchError for fewer than two
    images, images that the network does not take, and a file that cannot be read.

    Examples:
        >>> import numpy
        >>> numpy.savez("black.npz", arr_0=numpy.zeros((4, 32, 32, 1), "uint8"))
        >>> found = score("black.npz", "embedded")
        >>> found["count"], list(found["metrics"]), found["metrics"]["fd"]["label"]
        (4, ['fd', 'sfd', 'is', 'precision', 'recall', 'kid'], 'FD')
    """
    from ..metrics.features import load_extractor
    from ..metrics.images import open_images
    from ..metrics.reference import load_reference
    from ..metrics.score import labels, metric_fingerprint, missing
    from ..metrics.score import score as score_features

    given = validate(ScoreSettings, settings, "score")
    source = open_images(images, given.recursive)
    if source.count < 2:
        raise BenchError(f"{images} has {source.count} image: metrics need at least 2")
    extractor = load_extractor(given.features, given.feature_weights, given.device)
    extractor.check(source)  # before a reference may take minutes
    against = load_reference(reference, extractor, given.recursive)
    against = replace(against, arithmetic=given.precision_recall)
    notes = (*source.report, *against.notes, *missing(source.count, extractor.dimension))
    for line in (source.summary, *notes):
        say(line)
    scores = score_features(extractor.extract(source), against, source.classes)
    names = labels(extractor.title)
    return {
        "images": images,
        "count": source.count,
        "formats": source.formats,
        "skipped": [asdict(each) for each in source.skipped],
        "notes": notes,
        "features": {
            "name": extractor.name,
            "weights": extractor.digest,
            "title": extractor.title,
        },
        "reference": {"name": against.name, "count": against.count, "digest": against.digest},
        "precision_recall": against.arithmetic,
        "fingerprint": metric_fingerprint(extractor, source.count, against),
        "metrics": {
            key: {"label": names[key], "value": found.value, "ci": found.ci}
            for key, found in scores.items()
        },
    }


def score_partial(folder: str | Path, *, device: str = "cpu") -> dict[str, Any]:
    """Return scores of the jobs of a run that are not done, from their finished shards.

    The result is plain data: what ``mpqbench score RUN --partial --json`` has. Each of ``jobs`` has
    the number of ``images`` that are there, ``of`` how many, and for each key of ``metrics`` the
    fields of ``score`` and, as ``delta`` and ``delta_ci``, the paired difference to full precision
    on the same images, where that has all of them. No record is written. Raises BenchError for a
    folder in which no run was begun.

    Examples:
        >>> score_partial("runs/full")["jobs"][0]["images"]     # doctest: +SKIP
        4000
    """
    from ..core.files import expanded
    from ..job.loading import Loader
    from ..lab.partial import partial_scores
    from ..metrics.features import usable_device
    from ..records.store import RecordStore

    loader = Loader(str(usable_device(device)))
    found = list(partial_scores(RecordStore(expanded(folder)), loader))
    return {"folder": str(folder), "partial": True, "jobs": [_partial(job) for job in found]}


def _partial(job: "PartialScores") -> dict[str, Any]:
    from ..metrics.score import labels

    names, metrics = labels(job.network), dict[str, dict[str, Any]]()
    for key, found in job.scores.items():
        metrics[key] = {"label": names[key], "value": found.value, "ci": found.ci}
        difference = job.difference(key)
        if difference is not None:
            metrics[key] |= {"delta": difference.value, "delta_ci": difference.ci}
    facts = job.planned.model_dump(exclude={"samples", "protocol", "fingerprint"})
    return facts | {
        "images": job.images, "of": job.wanted, "features": job.network, "metrics": metrics,
    }  # fmt: skip
