"""What the jobs of a process share."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..core.cache import Cache
from ..core.progress import Reporter
from ..core.registry import Registry
from ..core.suite import Job
from ..dit.architectures import use_architectures
from ..dit.recordings import Recordings
from ..records.store import RecordStore
from .loading import Loader
from .patches import Patches

SHARD_IMAGES = 256  # of a shard, in whole micro-batches


@dataclass
class Resources:
    """Plugins, a device with the models on it, and a cache.

    ``batch_size`` images are sampled and written at a time, which changes none of them. The cache
    lies in ``folder``, or in a temporary folder that ends with the process. ``offered`` is called
    with the folder of results, the job and the number of shards that other processes may make.
    """

    registry: Registry
    device: str = "cpu"
    batch_size: int = SHARD_IMAGES
    folder: Path | None = None
    reporter: Reporter = field(default_factory=Reporter)
    offered: Callable[[Path, Job, int], None] = lambda _folder, _job, _shards: None
    _recordings: dict[str, Recordings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        use_architectures(self.registry)

    @cached_property
    def loader(self) -> Loader:
        return Loader(self.device, self.cache)

    @cached_property
    def patches(self) -> Patches:
        return Patches()

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.folder or Path(self._temporary.name), self.reporter)

    @cached_property
    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="mpqbench-")

    def recordings(self, job: Job) -> Recordings:
        """Return what methods see of the job's model, by the realization of the job.

        Recordings are kept in memory until the model changes.
        """
        return self._recorded(job, job.realization)

    def measured(self, job: Job) -> Recordings:
        """Return what is recorded to measure with, by the seed of the job; kept likewise."""
        return self._recorded(job, job.seed)

    def _recorded(self, job: Job, seed: int) -> Recordings:
        model = self.loader.model(job.model, job.protocol)
        made = Recordings(model, job.protocol, seed, self.device, self.cache)
        if any(kept.model is not model for kept in self._recordings.values()):
            self._recordings.clear()
        return self._recordings.setdefault(made.fingerprint, made)


@dataclass(frozen=True)
class Session:
    """Resources and the folder of results; with ``fresh``, finished jobs run again.

    Sessions of one ``campaign``, a name, were started together: each job is run by one of them.
    """

    resources: Resources
    store: RecordStore
    fresh: bool = False
    campaign: str = ""

    @property
    def registry(self) -> Registry:
        return self.resources.registry

    @property
    def device(self) -> str:
        return self.resources.device

    @property
    def reporter(self) -> Reporter:
        return self.resources.reporter
