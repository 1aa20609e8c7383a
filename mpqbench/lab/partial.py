"""Scores of jobs that are not finished, from the shards that are: none of them is kept."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..core.errors import BenchError
from ..core.jackknife import Estimate
from ..core.protocol import Protocol
from ..core.settings import validate
from ..job.features import FeatureFiles
from ..job.loading import Evaluator, Loader
from ..job.samples import SampleStore, Shard
from ..metrics.score import score
from ..records.schema import FULL_METHOD
from ..records.store import RecordStore
from .planned import PlannedJob, read_planned

FEWEST = 2  # images of a score


@dataclass(frozen=True)
class PartialScores:
    """Scores of ``images`` of the ``wanted`` images of a job, by ``network``.

    ``full`` are those of full precision on the same images, none where it lacks some of these.
    """

    planned: PlannedJob
    images: int
    wanted: int
    network: str
    scores: dict[str, Estimate]
    full: dict[str, Estimate]

    def difference(self, key: str) -> Estimate | None:
        """Return a score less that of full precision; its replicates are paired."""
        if key not in self.full:
            return None
        own, full = self.scores[key], self.full[key]
        pairs = zip(own.replicates, full.replicates, strict=True)
        return Estimate(own.value - full.value, tuple(a - b for a, b in pairs))


def partial_scores(store: RecordStore, loader: Loader) -> Iterator[PartialScores]:
    """Yield scores of the jobs of ``jobs.json`` that are not done and have finished shards.

    Shards of other settings or code than those of the job do not count. Features are kept beside
    the shards, where the folder can be written to. Raises BenchError where no run was begun, where
    its ``jobs.json`` is of an older version, and where the features of a job cannot be computed.
    """
    planned = read_planned(store)
    for job in planned:
        if not job.protocol:
            raise BenchError(
                f"{store.folder}/jobs.json was written by an older version: start its command again"
            )
        protocol = validate(Protocol, job.protocol, job.job)
        evaluator = loader.evaluator(protocol)
        if evaluator is None or store.done(job.job, job.fingerprint):
            continue
        images = _numbers(_samples(store, job).finished())
        images = images[images < protocol.images]
        if len(images) < FEWEST:
            continue
        scores = _scores(store, job, evaluator, images)
        full = next((each for each in planned if _is_reference(each, job)), None)
        has_all = (
            full is not None and np.isin(images, _numbers(_samples(store, full).finished())).all()
        )
        of_full = _scores(store, full, evaluator, images) if full is not None and has_all else {}
        network = evaluator.network.title
        yield PartialScores(job, len(images), protocol.images, network, scores, of_full)


def _is_reference(full: PlannedJob, job: PlannedJob) -> bool:
    condition = full.model, full.seed, full.protocol
    is_other = full.method == FULL_METHOD and full.job != job.job
    return is_other and condition == (job.model, job.seed, job.protocol)


def _samples(store: RecordStore, job: PlannedJob) -> SampleStore:
    return SampleStore(store.samples_path(job.job), job.samples, 1)


def _numbers(shards: Sequence[Shard]) -> np.ndarray:
    """Return the numbers of the images of shards, rising."""
    ranges = [np.arange(shard.start, shard.start + shard.length) for shard in shards]
    return np.concatenate([np.arange(0), *ranges])


def _scores(
    store: RecordStore, job: PlannedJob, evaluator: Evaluator, images: np.ndarray
) -> dict[str, Estimate]:
    """Return the scores of ``images`` of a job."""
    samples = _samples(store, job)
    with TemporaryDirectory() as made:
        folder = None if os.access(samples.folder, os.W_OK) else Path(made)
        files = FeatureFiles(samples, evaluator.network, folder)
        shards = [s for s in samples.finished() if s.start <= images[-1]]
        features, classes = files.merged(shards, images, lambda done: None)
        return score(features, evaluator.reference, classes)
