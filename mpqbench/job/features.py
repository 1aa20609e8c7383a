"""Features of samples on disk, a file for each shard, and metrics from all of them.

What is kept are features and not their sums: intervals leave out groups of images, which are dealt
anew for every number of images, and the sums of outer products of a shard's 20 groups take more
room than the features (at 256 images and 2,048 features 640 MB in place of 2).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from ..core.errors import BenchError
from ..core.files import reason_of, write_atomic
from ..core.progress import Advance
from ..core.settings import digest_of
from ..core.sources import folder_digest
from ..metrics.features import FeatureNetwork, FeatureSet
from ..metrics.images import ImageSource
from ..metrics.reference import array_digest
from ..metrics.rows import Rows
from .samples import SampleStore, Shard

CLASSES = "classes"
_FACTS = "mpqbench"  # one key, since safetensors writes several in any order


@dataclass(frozen=True)
class FeatureFiles:
    """The features of the samples of one job by one network.

    Beside ``shard-START.npz`` lies ``shard-START.NETWORK-WEIGHTS.safetensors`` with ``pooled``,
    ``spatial`` and ``logits`` (n, d) float32, as far as the network has them, and ``classes`` (n,).
    A file counts while its checksum is right, for a shard of the digest that it names, by a network
    of the same weights, code and kind of device. Files are written into ``folder`` where it is
    given, and then those beside the samples are only read; without ``reuse`` they are not.
    """

    samples: SampleStore
    network: FeatureNetwork
    folder: Path | None = None
    reuse: bool = True

    def merged(
        self, shards: Sequence[Shard], images: np.ndarray, advance: Advance
    ) -> tuple[FeatureSet[Rows], np.ndarray]:
        """Return features and classes (n,) of ``images``, numbers in rising order.

        ``shards`` must have them. What is missing or not whole is extracted and written. Features
        are read from the files again whenever they are used. Raises BenchError as ``extract``.
        """
        files = [(shard, self.extract(shard, advance)) for shard in shards]

        def parts(kind: str) -> Iterator[np.ndarray]:
            for shard, path in files:
                first, last = np.searchsorted(images, (shard.start, shard.start + shard.length))
                yield _tensor(path, kind)[images[first:last] - shard.start]

        kinds = {kind: _tensor(files[0][1], kind).shape[1] for kind in _kinds(files[0][1])}
        rows = {
            kind: Rows(len(images), dimension, lambda kind=kind: parts(kind))  # type: ignore[misc]
            for kind, dimension in kinds.items()
        }
        return FeatureSet(**rows), np.concatenate(list(parts(CLASSES)))

    def extract(self, shard: Shard, advance: Advance) -> Path:
        """Return the file of the features of a shard, made where none is whole.

        Raises BenchError for a shard that is missing or damaged, NotWritable.
        """
        name = f"{shard.path.stem}.{self.network.name}-{self.network.digest[:8]}.safetensors"
        beside = shard.path.with_name(name)
        target = beside if self.folder is None else self.folder / name
        facts = {"images": shard.digest, "network": self._network()}
        for path in dict.fromkeys([*([beside] if self.reuse else []), target]):
            if _is_whole(path, facts):
                advance(shard.length)
                return path
            if path.is_file():
                self.samples.reporter.say(
                    f"  {path} is damaged, or of other images, code or another kind of device: its "
                    "features are extracted again"
                )
        batch = self.samples.read(shard.start)
        shape = batch.images.shape[1:]
        source = ImageSource(str(shard.path), shard.length, shape, lambda: [batch.images])
        features = self.network.extract(source, advance=advance)._asdict()
        arrays = {kind: each for kind, each in features.items() if each is not None}
        arrays[CLASSES] = batch.classes.astype(np.int64)
        content = json.dumps(facts | {"checksum": _checksum(arrays, facts)})
        write_atomic(target, save(arrays, {_FACTS: content}))
        return target

    def _network(self) -> str:
        """Return the digest of all that decides the features of an image."""
        network = self.network
        return digest_of(
            [network.name, network.digest, network.device.type, folder_digest("metrics")]
        )


def _checksum(arrays: dict[str, np.ndarray], facts: dict[str, str]) -> str:
    return digest_of([facts, {name: array_digest(each) for name, each in arrays.items()}])


def _is_whole(path: Path, facts: dict[str, str]) -> bool:
    """Return whether a file has what was written with ``facts``."""
    try:
        content = path.read_bytes()
        with safe_open(path, "numpy") as file:
            told = json.loads((file.metadata() or {})[_FACTS])
        return bool(told == facts | {"checksum": _checksum(load(content), facts)})
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _kinds(path: Path) -> list[str]:
    with safe_open(path, "numpy") as file:
        return [kind for kind in file.keys() if kind != CLASSES]  # noqa: SIM118 (no dictionary)


def _tensor(path: Path, name: str) -> np.ndarray:
    """Return an array of a file that was whole. Raises BenchError where it is gone."""
    try:
        with safe_open(path, "numpy") as file:
            return np.asarray(file.get_tensor(name))
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({reason_of(error)}): run again") from None
