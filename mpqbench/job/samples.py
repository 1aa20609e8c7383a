"""Samples on disk: shards in the ADM ``.npz`` layout, so that other evaluation code can read them.

A shard is written in one step and never changed: a run that was killed is resumed after its last
whole shard, and a run with more images adds shards.
"""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.errors import BenchError
from ..core.files import write_atomic
from ..core.progress import Advance
from ..dit.sampling import SampleBatch, Sampler
from ..metrics.npz import DAMAGE

OWNER = "fingerprint.json"


class SampleStore:
    """The samples of one job: files ``shard-START.npz``, valid under one fingerprint.

    Each has ``arr_0`` (n, H, W, C) uint8, ``latents`` (n, c, h, w) float32 and ``classes`` (n,).
    """

    def __init__(self, folder: Path, fingerprint: str, batch_size: int) -> None:
        self.folder, self.fingerprint, self.batch_size = folder, fingerprint, batch_size

    def fill(self, sampler: Sampler, count: int, advance: Advance) -> None:
        """Sample until images 0 to ``count`` are there. Raises Diverged from the sampler.

        A shard has about ``batch_size`` images, in whole micro-batches but for the last shard.
        """
        if self._owner() != self.fingerprint:  # the samples of another job
            self.clear()
            write_atomic(self.folder / OWNER, json.dumps(self.fingerprint).encode())
        micro = sampler.protocol.micro_batch
        start = 0
        while start < count:
            have = self._length(start)
            if have % micro and start + have < count:
                have = 0  # the shard ends within a micro-batch and cannot be continued
            if have:
                advance(min(have, count - start))
            else:
                stop = min(start + micro * max(1, self.batch_size // micro), count)
                batches = []
                for batch in sampler.batches(start, stop):
                    batches.append(batch)
                    advance(len(batch.images))
                self._write(start, batches)
                have = stop - start
            start += have

    def holds(self, count: int) -> bool:
        """Return whether images 0 to ``count`` are there, whole and of this fingerprint."""
        if self._owner() != self.fingerprint:
            return False
        have = 0
        while have < count and (length := self._length(have)):
            have += length
        return have >= count

    def shards(self, count: int) -> Iterator[SampleBatch]:
        """Yield images 0 to ``count``, shard by shard. Raises BenchError where some are missing."""
        done = 0
        while done < count:
            try:
                with np.load(self._path(done)) as shard:
                    images, latents, classes = (shard[k] for k in ("arr_0", "latents", "classes"))
            except DAMAGE as error:
                raise BenchError(
                    f"samples {self._path(done)} cannot be read ({error}): run again with --fresh"
                ) from None
            keep = min(len(images), count - done)
            yield SampleBatch(done, images[:keep], latents[:keep], classes[:keep])
            done += len(images)

    def clear(self) -> None:
        """Remove all samples."""
        shutil.rmtree(self.folder, ignore_errors=not self.folder.exists())

    def _owner(self) -> str | None:
        """Return the fingerprint of the samples; ``None`` for a missing or damaged one."""
        try:
            return json.loads((self.folder / OWNER).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def _path(self, start: int) -> Path:
        return self.folder / f"shard-{start:08d}.npz"

    def _length(self, start: int) -> int:
        """Return the number of images in a shard; 0 for a missing or damaged one."""
        try:
            with np.load(self._path(start)) as shard:
                return len(shard["classes"])
        except DAMAGE:
            return 0

    def _write(self, start: int, batches: list[SampleBatch]) -> None:
        columns = zip(*((b.images, b.latents, b.classes) for b in batches), strict=True)
        images, latents, classes = map(np.concatenate, columns)
        content = io.BytesIO()
        np.savez(content, arr_0=images, latents=latents, classes=classes)
        write_atomic(self._path(start), content.getvalue())
