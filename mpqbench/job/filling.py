"""Sampling shards that are missing, together with other processes.

The process that runs a job is the only one that writes ``shard-START.npz`` and notes them. Another
process leaves a shard as ``part-START-STOP-DIGEST.npz``, which the first one renames.
"""

import io
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.claims import Claims, Holder
from ..core.errors import Diverged
from ..core.files import digest_of_bytes, digest_of_file, write_atomic
from ..core.progress import Advance
from ..dit.sampling import Sampler
from ..metrics.npz import DAMAGE
from .samples import SHARD, SampleStore, Shards
from .sharing import ShardRange, name_of

POLL_SECONDS = 0.5  # between looks whether others have made their shards
Offer = Callable[[Sequence[ShardRange]], AbstractContextManager[Claims]]


@dataclass(frozen=True)
class Filling:
    """Makes the shards of ``store`` with a sampler."""

    store: SampleStore
    sampler: Sampler
    advance: Advance

    def fill(self, count: int, offer: Offer | None = None) -> None:
        """Sample until images 0 to ``count`` are there. Raises Diverged from the sampler.

        A shard has about ``batch_size`` images, in whole micro-batches but for the last shard. One
        that is missing or damaged is sampled again; where that gives other images than before, as
        on another processor, so are all. Shards of another fingerprint are removed. All this is
        said. Several shards are offered to other processes by ``offer``.
        """
        known = self._begun()
        left = self._left(known, count)
        there = count - sum(stop - start for start, stop in left)
        self.advance(there)
        shared = offer(left) if offer is not None and len(left) > 1 else nullcontext(None)
        with shared as claims:
            differs = self._fill(known, left, claims)
        for path in self.store.folder.glob("part-*.npz"):  # of a process that was suspended
            path.unlink(missing_ok=True)
        if differs is not None:
            self.store.reporter.say(
                f"  {differs} sampled again differs from what it was, as on "
                "another processor or with other threads: sampling all images again"
            )
            self.advance(-there)
            self.store.clear()
            self.fill(count, offer)

    def _fill(self, known: Shards, left: list[ShardRange], claims: Claims | None) -> Path | None:
        """Sample the shards in ``left``, but for those of which others hold one of ``claims``.

        Returns the path of a shard that is another one than it was. Of several processes that
        diverge, the lowest image is told, as one process would.
        """
        diverged: Diverged | None = None
        while left:
            before = len(left)
            for shard in list(left):
                if shard not in left:
                    continue
                with _held(claims, shard, self.store.fingerprint) as holder:
                    if holder is not None:
                        continue
                    try:
                        made = self._made(shard)
                    except Diverged as error:
                        diverged, left = error, [other for other in left if other < shard]
                        break
                    left.remove(shard)
                    length, digest = known.get(shard[0], (0, ""))
                    if length == made[0] and digest != made[1]:
                        return self.store.path(shard[0])
                    known[shard[0]] = made[:2]
                    self.store.note(known)
                    self._put(shard, made[2])
            if len(left) == before:
                time.sleep(POLL_SECONDS)
        if diverged is not None:
            raise diverged
        return None

    def leave(self, shard: ShardRange) -> None:
        """Sample a shard of a job that another process runs, which takes it over from here."""
        content = self._sampled(*shard)
        name = f"part-{name_of(shard)}-{digest_of_bytes(content)}.npz"
        write_atomic(self.store.folder / name, content)

    def _begun(self) -> Shards:
        """Return the shards that are known, without those of another fingerprint."""
        store = self.store
        known = store.known(store.folder)
        if known is not None:
            return known
        if any(SHARD.fullmatch(path.name) for path in store.folder.glob("*")):
            store.reporter.say(
                f"  the samples in {store.folder} were made by another recipe, model, device or "
                "version of the code, or it is not known by which: they are made again"
            )
        store.clear(parts=False)  # one that was left for a process that was killed has its own
        return store.adopted()

    def _left(self, known: Shards, count: int) -> list[ShardRange]:
        """Return the shards that are missing or damaged."""
        micro, start, left = self.sampler.protocol.micro_batch, 0, []
        size = micro * max(1, self.store.batch_size // micro)
        while start < count:
            length, digest = known.get(start, (0, ""))
            if length % micro and start + length < count:
                length = 0  # the shard ends within a micro-batch and cannot be continued
            if not length or not self.store.is_whole(start, digest):
                if length and self.store.path(start).is_file():
                    self.store.reporter.say(
                        f"  sampling {self.store.path(start)} again, which is damaged"
                    )
                following = min((s for s in known if s > start), default=start + size)
                stop = min(start + (length or size), following, count)
                left.append((start, stop))
                length = stop - start
            start += length
        return left

    def _made(self, shard: ShardRange) -> tuple[int, str, bytes | Path]:
        """Return number of images, digest, and content of a shard, or where another has left it."""
        number = shard[1] - shard[0]
        for path in _parts(self.store, shard):
            digest = path.stem.rpartition("-")[2]
            if digest_of_file(path) == digest and _comment_of(path) == self.store.fingerprint:
                self.advance(number)
                return number, digest, path
        content = self._sampled(*shard)
        return number, digest_of_bytes(content), content

    def _put(self, shard: ShardRange, made: bytes | Path) -> None:
        if isinstance(made, Path):
            made.replace(self.store.path(shard[0]))
        else:
            write_atomic(self.store.path(shard[0]), made)

    def _sampled(self, start: int, stop: int) -> bytes:
        """Return the file of images ``start`` to ``stop``."""
        batches = []
        for batch in self.sampler.batches(start, stop):
            batches.append(batch)
            self.advance(len(batch.images))
        columns = zip(*((b.images, b.latents, b.classes) for b in batches), strict=True)
        images, latents, classes = map(np.concatenate, columns)
        arrays = {"arr_0": images, "latents": latents, "classes": classes}
        if (texts := self.sampler.model.texts) is not None:
            arrays["texts"] = np.array([texts[prompt] for prompt in classes])
        if self.sampler.notes:
            arrays["notes"] = np.array(self.sampler.notes)
        return _npz(arrays, self.store.fingerprint)


def missing(store: SampleStore, shards: Iterable[ShardRange]) -> list[ShardRange]:
    """Return the shards that are neither there nor were left by another process."""
    known = store.known(store.folder) or {}
    left = {path.name.rpartition("-")[0] for path in store.folder.glob("part-*.npz")}
    return [
        (start, stop)
        for start, stop in shards
        if f"part-{name_of((start, stop))}" not in left
        and (known.get(start, (0, ""))[0] != stop - start or not store.path(start).is_file())
    ]


def _parts(store: SampleStore, shard: ShardRange) -> list[Path]:
    return sorted(store.folder.glob(f"part-{name_of(shard)}-*.npz"))


def _comment_of(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment.decode()
    except DAMAGE:
        return ""


@contextmanager
def _held(claims: Claims | None, shard: ShardRange, fingerprint: str) -> Iterator[Holder | None]:
    """Hold the claim of a shard while inside, where there are ``claims``."""
    if claims is None:
        yield None
        return
    with claims.hold(name_of(shard), fingerprint) as holder:
        yield holder


def _npz(arrays: Mapping[str, np.ndarray], comment: str) -> bytes:
    """Return an ``.npz`` file; equal arrays give equal bytes, as there is no time in it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.comment = comment.encode()
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return content.getvalue()
