"""Shards of the samples of one job, which several processes make.

The process that runs the job writes ``claims/JOB/plan.json`` once its quantized model is ready:
which shards are to be made, the allocation, and a digest of what the model predicts. Another
process that has this model too, from what is in the cache, claims shards one by one and leaves them
beside the samples, where the first process takes them over.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.claims import FOLDER, Claims, Holder
from ..core.errors import BenchError
from ..core.files import write_atomic
from ..core.precision import Allocation
from ..core.processes import machine
from ..core.settings import sealed
from ..records.store import RecordStore, read_sealed

if TYPE_CHECKING:
    from ..dit.sampling import Sampler

ShardRange = tuple[int, int]  # the number of the first image, and of the first behind it
_PLAN = "plan.json"
_DAMAGED = (BenchError, ValueError, TypeError, LookupError)


@dataclass(frozen=True)
class ShardPlan:
    """The shards that process ``pid`` of ``machine`` began to make, and of which model.

    ``fingerprint`` is that of the samples, ``allocation`` is as in its file, ``predicted`` as
    ``predictions_digest`` gives it.
    """

    fingerprint: str
    shards: tuple[ShardRange, ...]
    allocation: Mapping[str, Any]
    predicted: str
    machine: str
    pid: int


@dataclass(frozen=True)
class Sharing:
    """The shards of a job as other processes see them, in ``folder``."""

    folder: Path

    @classmethod
    def of(cls, store: RecordStore, job: str) -> "Sharing":
        """Return that of a job of ``store``."""
        return cls(store.folder / FOLDER / job)

    @property
    def claims(self) -> Claims:
        """The claims of shards, which are named by ``name_of``."""
        return Claims(self.folder)

    def offer(
        self,
        fingerprint: str,
        allocation: Allocation,
        sampler: "Sampler",
        told: Callable[[int], None] = lambda _shards: None,
    ) -> Callable[[Sequence[ShardRange]], AbstractContextManager[Claims]]:
        """Return what offers shards to other processes while inside, and gives their claims.

        ``told`` is called with their number.
        """

        @contextmanager
        def offered(shards: Sequence[ShardRange]) -> Iterator[Claims]:
            predicted, given = predictions_digest(sampler), dict(allocation.to_json())
            plan = ShardPlan(fingerprint, tuple(shards), given, predicted, machine(), os.getpid())
            self.publish(plan)
            try:
                told(len(shards))
                yield self.claims
            finally:
                self.withdraw()

        return offered

    def publish(self, plan: ShardPlan) -> None:
        """Write ``plan`` for other processes, in place of the one before. Raises NotWritable."""
        write_atomic(self.folder / _PLAN, json.dumps(sealed(vars(plan))).encode())

    def withdraw(self) -> None:
        """Offer nothing, as a process does that begins the job anew."""
        (self.folder / _PLAN).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or others still hold claims
            self.folder.rmdir()

    def plan(self, holder: Holder) -> ShardPlan | None:
        """Return what ``holder``, who runs the job, offers; ``None`` for nothing."""
        try:
            plan = ShardPlan(**read_sealed(self.folder / _PLAN))
            shards = tuple((int(start), int(stop)) for start, stop in plan.shards)
            plan = ShardPlan(**{**vars(plan), "shards": shards})
        except _DAMAGED:
            return None
        return plan if (plan.machine, plan.pid) == (holder.machine, holder.pid) else None


def name_of(shard: ShardRange) -> str:
    """Return the name of a shard in files and claims."""
    return f"{shard[0]:08d}-{shard[1]:08d}"


def has_file(folder: Path, shard: ShardRange) -> bool:
    """Return whether there is a file of a shard in ``folder``, whoever made it."""
    parts = folder.glob(f"part-{name_of(shard)}-*.npz")
    return (folder / f"shard-{shard[0]:08d}.npz").is_file() or any(parts)


def predictions_digest(sampler: "Sampler") -> str:
    """Return the digest of what a model predicts for the first images, with all corrections.

    In the first step and the last: another processor or number of threads, or another quantized
    model, gives another digest.
    """
    import torch

    total, times = hashlib.sha256(), [float(time) for time in sampler.schedule.model_times]
    with torch.inference_mode():
        latents, classes, _ = sampler.begin(0)
        for time in (times[0], times[-1]):
            prediction, rest = sampler.predict(latents, time, classes)
            corrected = [correction(prediction, latents) for correction in sampler.corrections]
            for part in (prediction.noise, prediction.contrast, rest, *corrected):
                total.update(part.float().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]
