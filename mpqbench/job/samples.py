"""Samples on disk: shards in the ADM ``.npz`` layout, so that other evaluation code can read them.

A shard is written in one step and never changed: a run that was killed is resumed after its last
whole shard, and a run with more images adds shards.
"""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.errors import BenchError
from ..core.files import digest_of_bytes, digest_of_file, reason_of, write_atomic
from ..core.progress import Reporter
from ..core.settings import is_whole, sealed
from ..core.suite import Job
from ..dit.sampling import SampleBatch
from ..metrics.npz import DAMAGE
from .fingerprints import samples_fingerprint
from .resources import Session

OWNER = "fingerprint.json"
SHARD = re.compile(r"shard-\d{8}\.npz")
_UNFINISHED = re.compile(r"\.(shard-\d{8}|part-.*)\.npz-.*\.tmp")
DAMAGED_OWNER = (OSError, ValueError, TypeError, LookupError, AttributeError)


class Shard(NamedTuple):
    """A shard of samples: the number of its first image, how many it has, its digest, its file."""

    start: int
    length: int
    digest: str
    path: Path


Shards = dict[int, tuple[int, str]]  # number of images and digest, by the number of the first


@dataclass
class SampleStore:
    """The samples of one job: files ``shard-START.npz``, valid under one fingerprint.

    Each has ``arr_0`` (n, H, W, C) uint8, ``latents`` (n, c, h, w) float32 and ``classes`` (n,),
    which are numbers of prompts where a model takes prompts; ``texts`` (n,) has the prompts, and
    ``notes`` what was done otherwise, as where memory was short.
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

    def holds(self, count: int) -> bool:
        """Return whether images 0 to ``count`` are there, whole and of this fingerprint."""
        return self._chain(count) is not None

    def digests(self, count: int) -> dict[str, str]:
        """Return the digests of the files of images 0 to ``count`` by name."""
        known = self.known(self.folder) or {}
        return {self.path(start).name: known[start][1] for start in self._chain(count) or ()}

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
                f"samples {self.path(start)} cannot be read ({error}): run again"
            ) from None

    def notes(self, count: int) -> list[str]:
        """Return what the shards of images 0 to ``count`` say was done otherwise."""
        found: dict[str, None] = {}
        for start in (start for start in self.known(self.folder) or {} if start < count):
            with np.load(self.path(start)) as shard:
                if "notes" in shard.files:
                    found |= dict.fromkeys(map(str, shard["notes"]))
        return list(found)

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
        shards = [self._shard(start) for start in sorted(self.known(self.folder) or {})]
        return [shard for shard in shards if self.is_whole(shard.start, shard.digest)]

    def _shard(self, start: int) -> Shard:
        return Shard(start, *(self.known(self.folder) or {})[start], self.path(start))

    def clear(self, *, parts: bool = True) -> None:
        """Remove the shards that ``fingerprint.json`` says a store wrote, and what is of these.

        With ``parts`` the shards that other processes have left are removed too.
        """
        if not self.folder.is_dir():
            return
        try:
            written = {self.path(start).name for start in _read_owner(self.folder)[1]}
        except FileNotFoundError:
            written = set()
        except DAMAGED_OWNER:  # known by their names alone
            written = {p.name for p in self.folder.iterdir() if SHARD.fullmatch(p.name)}
        for path in list(self.folder.iterdir()):
            ours = f"{path.name.partition('.')[0]}.npz" in written
            ours = ours or (parts and path.match("part-*.npz"))
            if ours or _UNFINISHED.fullmatch(path.name):
                path.unlink()
        (self.folder / OWNER).unlink(missing_ok=True)  # last, as it names the others
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _content(self, start: int) -> bytes:
        """Return a shard as it was written. Raises BenchError as ``shards``."""
        path, known = self.path(start), self.known(self.folder)
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

    def known(self, folder: Path) -> Shards | None:
        """Return the shards that were written into ``folder``; ``None`` for another fingerprint."""
        try:
            fingerprint, shards = _read_owner(folder)
        except DAMAGED_OWNER:
            return None
        return shards if fingerprint == self.fingerprint else None

    def note(self, known: Shards) -> None:
        shards = {str(start): list(made) for start, made in known.items()}
        owner = sealed({"fingerprint": self.fingerprint, "shards": shards})
        write_atomic(self.folder / OWNER, json.dumps(owner).encode())

    def adopted(self) -> Shards:
        """Link the shards of the first other folder of this fingerprint into this one."""
        for other in self.others:
            known = self.known(other)
            if known is None:
                continue
            self.note(known)
            stems = tuple(f"{self.path(start).stem}." for start in known)
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
        known, start, chain = self.known(self.folder) or {}, 0, []
        while start < count:
            length, digest = known.get(start, (0, ""))
            if not length or not self.is_whole(start, digest):
                return None
            chain.append(start)
            start += length
        return chain

    def is_whole(self, start: int, digest: str) -> bool:
        return digest_of_file(self.path(start)) == digest

    def path(self, start: int) -> Path:
        return self.folder / f"shard-{start:08d}.npz"


def _read_owner(folder: Path) -> tuple[str, Shards]:
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


def samples_of(job: Job, session: Session) -> SampleStore:
    """Return the samples of ``job``, which depend neither on their number nor on the metrics."""
    resources = session.resources
    name = samples_fingerprint(job, resources)
    folder, others = session.store.samples_path(job.id), session.store.other_samples(job.id)
    return SampleStore(folder, name, resources.batch_size, others, session.reporter)
