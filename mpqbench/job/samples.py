"""Samples on disk: shards in the ADM ``.npz`` layout, so that other evaluation code can read them.

A shard is written in one step and never changed: a run that was killed is resumed after its last
whole shard, and a run with more images adds shards.
"""

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.errors import BenchError
from ..core.files import digest_of_bytes, digest_of_file, reason_of, write_atomic
from ..core.progress import Advance, Reporter
from ..core.settings import is_whole, sealed
from ..dit.sampling import SampleBatch, Sampler
from ..metrics.npz import DAMAGE

OWNER = "fingerprint.json"
_SHARD, _UNFINISHED = re.compile(r"shard-\d{8}\.npz"), re.compile(r"\.shard-\d{8}\.npz-.*\.tmp")
DAMAGED_OWNER = (OSError, ValueError, TypeError, LookupError, AttributeError)


class Shard(NamedTuple):
    """A shard of samples: the number of its first image, how many it has, its digest, its file."""

    start: int
    length: int
    digest: str
    path: Path


_Shards = dict[int, tuple[int, str]]  # number of images and digest, by the number of the first


@dataclass
class SampleStore:
    """The samples of one job: files ``shard-START.npz``, valid under one fingerprint.

    Each has ``arr_0`` (n, H, W, C) uint8, ``latents`` (n, c, h, w) float32 and ``classes`` (n,),
    which are numbers of prompts where a model takes prompts; ``texts`` (n,) has the prompts.
    Their lengths and digests are in ``fingerprint.json``, before they are written; each shard
    has the fingerprint as well, as the comment of its archive. Files of the same name with another
    suffix, as those of features, belong to their shard. ``others`` are folders that may have
    samples of the same fingerprint, for another number of images.
    """

    folder: Path
    fingerprint: str
    batch_size: int
    others: Sequence[Path] = ()
    reporter: Reporter = field(default_factory=Reporter)

    def fill(self, sampler: Sampler, count: int, advance: Advance) -> None:
        """Sample until images 0 to ``count`` are there. Raises Diverged from the sampler.

        A shard has about ``batch_size`` images, in whole micro-batches but for the last shard. One
        that is missing or damaged is sampled again; where that gives other images than before, as
        on another processor, so are all. Shards of another fingerprint are removed. All this is
        said.
        """
        known = self._known(self.folder)
        if known is None:  # the samples of another job, or none
            if any(_SHARD.fullmatch(path.name) for path in self.folder.glob("*")):
                self.reporter.say(
                    f"  the samples in {self.folder} were made by another recipe, model, device or "
                    "version of the code, or it is not known by which: they are made again"
                )
            self.clear()
            known = self._adopted()
        micro = sampler.protocol.micro_batch
        size, start = micro * max(1, self.batch_size // micro), 0
        while start < count:
            length, digest = known.get(start, (0, ""))
            if length % micro and start + length < count:
                length = 0  # the shard ends within a micro-batch and cannot be continued
            if length and self._is_whole(start, digest):
                advance(min(length, count - start))
            else:
                if length and self._path(start).is_file():
                    self.reporter.say(f"  sampling {self._path(start)} again, which is damaged")
                following = min((s for s in known if s > start), default=start + size)
                stop = min(start + (length or size), following, count)
                content = self._sampled(sampler, start, stop, advance)
                made = (stop - start, digest_of_bytes(content))
                if length == made[0] and digest != made[1]:
                    self.reporter.say(
                        f"  {self._path(start)} sampled again differs from what it was, as on "
                        "another processor or with other threads: sampling all images again"
                    )
                    advance(-stop)
                    self.clear()
                    return self.fill(sampler, count, advance)
                known[start], length = made, made[0]
                self._note(known)
                write_atomic(self._path(start), content)
            start += length

    def holds(self, count: int) -> bool:
        """Return whether images 0 to ``count`` are there, whole and of this fingerprint."""
        return self._chain(count) is not None

    def digests(self, count: int) -> dict[str, str]:
        """Return the digests of the files of images 0 to ``count`` by name."""
        known = self._known(self.folder) or {}
        return {self._path(start).name: known[start][1] for start in self._chain(count) or ()}

    def shards(self, count: int) -> Iterator[SampleBatch]:
        """Yield images 0 to ``count``, shard by shard. Raises BenchError as ``read``."""
        done = 0
        while done < count:
            batch = self.read(done)
            length, keep = len(batch.images), count - done
            yield SampleBatch(done, batch.images[:keep], batch.latents[:keep], batch.classes[:keep])
            done += length

    def read(self, start: int) -> SampleBatch:
        """Return the shard that begins with image ``start``.

        Raises BenchError where it is missing, damaged or of another fingerprint.
        """
        content = self._content(start)
        try:
            with np.load(io.BytesIO(content)) as shard:
                arrays = (shard[key] for key in ("arr_0", "latents", "classes"))
                return SampleBatch(start, *arrays)
        except DAMAGE as error:
            raise BenchError(
                f"samples {self._path(start)} cannot be read ({error}): run again"
            ) from None

    def whole(self, count: int) -> list[Shard]:
        """Return the shards of images 0 to ``count``. Raises BenchError as ``read``."""
        found, done = [], 0
        while done < count:
            self._content(done)
            found.append(self._shard(done))
            done += found[-1].length
        return found

    def finished(self) -> list[Shard]:
        """Return all shards that are whole, in the order of their images."""
        shards = [self._shard(start) for start in sorted(self._known(self.folder) or {})]
        return [shard for shard in shards if self._is_whole(shard.start, shard.digest)]

    def _shard(self, start: int) -> Shard:
        return Shard(start, *(self._known(self.folder) or {})[start], self._path(start))

    def clear(self) -> None:
        """Remove the shards that ``fingerprint.json`` says a store wrote, and what is of these."""
        if not self.folder.is_dir():
            return
        try:
            written = {self._path(start).name for start in _read_owner(self.folder)[1]}
        except FileNotFoundError:
            written = set()
        except DAMAGED_OWNER:  # known by their names alone
            written = {p.name for p in self.folder.iterdir() if _SHARD.fullmatch(p.name)}
        for path in list(self.folder.iterdir()):
            if f"{path.name.partition('.')[0]}.npz" in written or _UNFINISHED.fullmatch(path.name):
                path.unlink()
        (self.folder / OWNER).unlink(missing_ok=True)  # last, as it names the others
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _content(self, start: int) -> bytes:
        """Return a shard as it was written. Raises BenchError as ``shards``."""
        path, known = self._path(start), self._known(self.folder)
        if known is None:
            raise BenchError(
                f"samples {path} cannot be used: {OWNER} beside them is missing, damaged or of "
                "another job of this name: run again"
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BenchError(
                f"samples {path} cannot be read ({reason_of(error)}): run again"
            ) from None
        if digest_of_bytes(content) != known.get(start, (0, ""))[1]:
            raise BenchError(f"samples {path} are damaged, as their checksum shows: run again")
        return content

    def _known(self, folder: Path) -> _Shards | None:
        """Return the shards that were written into ``folder``; ``None`` for another fingerprint."""
        try:
            fingerprint, shards = _read_owner(folder)
        except DAMAGED_OWNER:
            return None
        return shards if fingerprint == self.fingerprint else None

    def _note(self, known: _Shards) -> None:
        shards = {str(start): list(made) for start, made in known.items()}
        owner = sealed({"fingerprint": self.fingerprint, "shards": shards})
        write_atomic(self.folder / OWNER, json.dumps(owner).encode())

    def _adopted(self) -> _Shards:
        """Link the shards of the first other folder of this fingerprint into this one."""
        for other in self.others:
            known = self._known(other)
            if known is None:
                continue
            self._note(known)
            stems = tuple(f"{self._path(start).stem}." for start in known)
            for path in (path for path in other.glob("shard-*") if path.name.startswith(stems)):
                try:
                    os.link(path, self.folder / path.name)
                except OSError:  # another file system, or one without links
                    if path.is_file():
                        shutil.copyfile(path, self.folder / path.name)
            return known
        return {}

    def _chain(self, count: int) -> list[int] | None:
        """Return where the shards of images 0 to ``count`` begin; ``None`` if one is not whole."""
        known, start, chain = self._known(self.folder) or {}, 0, []
        while start < count:
            length, digest = known.get(start, (0, ""))
            if not length or not self._is_whole(start, digest):
                return None
            chain.append(start)
            start += length
        return chain

    def _is_whole(self, start: int, digest: str) -> bool:
        return digest_of_file(self._path(start)) == digest

    def _path(self, start: int) -> Path:
        return self.folder / f"shard-{start:08d}.npz"

    def _sampled(self, sampler: Sampler, start: int, stop: int, advance: Advance) -> bytes:
        """Return the file of images ``start`` to ``stop``."""
        batches = []
        for batch in sampler.batches(start, stop):
            batches.append(batch)
            advance(len(batch.images))
        columns = zip(*((b.images, b.latents, b.classes) for b in batches), strict=True)
        images, latents, classes = map(np.concatenate, columns)
        arrays = {"arr_0": images, "latents": latents, "classes": classes}
        if (texts := sampler.model.texts) is not None:
            arrays["texts"] = np.array([texts[prompt] for prompt in classes])
        return _npz(arrays, self.fingerprint)


def _read_owner(folder: Path) -> tuple[str, _Shards]:
    """Return the fingerprint and the shards of a folder. Raises one of DAMAGED_OWNER."""
    owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    if not is_whole(owner):
        raise ValueError("the checksum is another one")
    shards = {int(s): (int(n), str(digest)) for s, (n, digest) in owner["shards"].items()}
    return owner["fingerprint"], shards


def fingerprint_of(folder: Path) -> str:
    """Return the fingerprint of the samples in a folder; "" where that is not known."""
    try:
        return _read_owner(folder)[0]
    except DAMAGED_OWNER:
        return ""


def _npz(arrays: Mapping[str, np.ndarray], comment: str) -> bytes:
    """Return an ``.npz`` file; equal arrays give equal bytes, as there is no time in it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.comment = comment.encode()
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return content.getvalue()
