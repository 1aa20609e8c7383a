"""Images to be scored, from memory or disk, in one order and one layout: uint8 NHWC."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..core.errors import BenchError
from . import npz
from .folders import (
    MAX_PIXELS,
    Listing,
    Skipped,
    inspect,
    list_images,
    read,
    remarks_of,
    skipped_text,
)

_CHUNK = 64  # rows read at once: 12 MB of 256x256 RGB
SHARDS, FEATURES = "shard-*.npz", "shard-*.safetensors"
Rows = tuple[np.ndarray, ...]  # arrays with one row for each image


@dataclass(frozen=True, eq=False)
class ImageSource:
    """``count`` uint8 images of one ``shape`` (H, W, C), C 1 or 3, in a fixed order.

    ``chunks`` gives an iterator over arrays of images. ``classes`` is int64 (N,) where the source
    knows the classes (sample shards), else None. ``formats`` counts the files of a folder;
    ``skipped`` is what of it is not read, ``notes`` are sentences on what was converted.
    """

    name: str
    count: int
    shape: tuple[int, int, int]
    chunks: Callable[[], Iterable[np.ndarray]]
    classes: np.ndarray | None = None
    formats: dict[str, int] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line on how many images are read, of which formats."""
        formats = ", ".join(f"{count} {name}" for name, count in self.formats.items())
        return f"{self.name}: {self.count} images" + (f" ({formats})" if formats else "")

    @property
    def report(self) -> tuple[str, ...]:
        """Sentences on what of the source is not read, or not as it is."""
        skipped = (f"skipped {skipped_text(self.skipped)}",) if self.skipped else ()
        return tuple(f"{self.name}: {each}" for each in (*skipped, *self.notes))

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield (size, H, W, C) in order, the last shorter. Raises BenchError for damage."""
        return (images for (images,) in regroup(((chunk,) for chunk in self.chunks()), size))

    def digest(self) -> str:
        """Return 16 hex digits of the SHA-256 of shape and pixels, however they are stored."""
        state = hashlib.sha256(repr((self.count, *self.shape)).encode())
        for batch in self.batches(_CHUNK):
            state.update(np.ascontiguousarray(batch).tobytes())
        return state.hexdigest()[:16]


def regroup(parts: Iterable[Rows], size: int) -> Iterator[Rows]:
    """Yield the rows of ``parts`` in order, ``size`` at a time; the last batch may be shorter."""
    held: list[Rows] = []
    ready = 0
    for part in parts:
        held.append(part)
        ready += len(part[0])
        while ready >= size:
            joined = tuple(map(np.concatenate, zip(*held, strict=True)))
            yield tuple(array[:size] for array in joined)
            held, ready = [tuple(array[size:] for array in joined)], ready - size
    if ready:
        yield tuple(map(np.concatenate, zip(*held, strict=True)))


def open_images(source: np.ndarray | str | Path, recursive: bool = False) -> ImageSource:
    """Open images from an array, a folder or a file.

    ``source`` is a uint8 array (N, H, W, C), an ADM-style ``.npz`` with the key ``arr_0``, a folder
    of sample shards ``shard-START.npz``, each with ``arr_0`` and ``classes``, or a folder of image
    files in the order of their paths (see ``list_images``). Raises BenchError for anything else and
    for damaged files; defects that only the pixels show are raised by ``batches``.
    """
    if isinstance(source, np.ndarray):
        shape = _checked("the image array", source.shape, source.dtype)
        return ImageSource("array", len(source), shape, lambda: [source])
    path = Path(source)
    try:
        is_file, is_folder, exists = path.is_file(), path.is_dir(), path.exists()
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from None
    if is_file:
        return _open_npz(path)
    if is_folder:
        if shards := sorted(path.glob(SHARDS), key=_number):
            apart = {*shards, *path.glob(FEATURES)}
            return _open_shards(path, shards, list_images(path, apart=apart))
        return _open_folder(path, list_images(path, recursive))
    problem = "is neither a file nor a folder" if exists else "does not exist"
    raise BenchError(f"{path} {problem}: give a folder of images or an .npz file")


def first_images(folder: Path, count: int) -> np.ndarray:
    """Return the first ``count`` images of a folder of sample shards, (count, H, W, C).

    Raises as ``first_shards``.
    """
    shards = list(first_shards(folder, count))
    parts = [part for path in shards for part in open_images(path).chunks()]
    return np.concatenate(parts)[:count]


def first_texts(folder: Path, count: int) -> list[str]:
    """Return the prompts of the first ``count`` images of sample shards, [] where there are none.

    Raises as ``first_shards``.
    """
    texts: list[str] = []
    for path in first_shards(folder, count):
        if "texts" in npz.keys(path):
            texts += npz.load(path, "texts").tolist()
    return texts[:count]


def first_shards(folder: Path, count: int) -> Iterator[Path]:
    """Yield the shards ``shard-START.npz`` of the first ``count`` images of a folder, in order.

    START is the number of the first image. A shard is opened after it was yielded; raises
    BenchError if it is missing or damaged.
    """
    have = 0
    while have < max(count, 1):
        path = folder / f"shard-{have:08d}.npz"
        yield path
        if not path.is_file():
            raise BenchError(
                f"{folder} has images 0 to {have} of {count}, and no {path.name}: run its suite "
                "again, or ask for fewer"
            )
        have += open_images(path).count


def _checked(where: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, int, int]:
    if dtype != np.uint8:
        raise BenchError(f"{where} has dtype {dtype}: images are uint8 from 0 to 255")
    if len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise BenchError(f"{where} has shape {shape}: images are (N, H, W, C), C 1 or 3, N above 0")
    if shape[1] * shape[2] > MAX_PIXELS:
        raise BenchError(f"{where} has shape {shape}: images have at most {MAX_PIXELS} pixels")
    return (shape[1], shape[2], shape[3])


def _open_npz(path: Path) -> ImageSource:
    count, shape = _images_in(path)
    others = [key for key in npz.keys(path) if key != "arr_0"]
    notes = (f"arrays that are not read: {', '.join(others)}",) if others else ()
    chunks = partial(npz.rows, path, "arr_0", _CHUNK)
    return ImageSource(str(path), count, shape, chunks, notes=notes)


def _open_shards(name: Path, files: list[Path], listing: Listing) -> ImageSource:
    count, classes, starts = 0, [], []
    _, shape = _images_in(files[0])
    for file in files:
        starts.append(count)
        size, found = _images_in(file)
        if found != shape:
            sizes = f"{size_text(found)}, those before {size_text(shape)}"
            raise BenchError(f"{file} has images of {sizes}")
        classes.append(_classes_in(file, size))
        count += size
    _check_complete(files, starts)
    skipped = listing.skipped
    if listing.files:
        beside = Skipped("images beside the shards", len(listing.files), listing.files[0].name)
        skipped = (*skipped, beside)
    return ImageSource(
        str(name),
        count,
        shape,
        lambda: (rows for file in files for rows in npz.rows(file, "arr_0", _CHUNK)),
        np.concatenate(classes),
        skipped=skipped,
    )


def _check_complete(files: list[Path], starts: list[int]) -> None:
    """Raise BenchError where shards are numbered neither by their first image nor one by one."""
    numbers = [_number(file) for file in files]
    if numbers != starts and numbers != list(range(len(files))):
        pairs = zip(files, numbers, starts, strict=True)
        file, start = next((file, start) for file, number, start in pairs if number != start)
        raise BenchError(f"{file} should be the shard of image {start}: a shard is missing")


def _number(file: Path) -> int:
    """Return START of ``shard-START.npz``."""
    digits = file.stem.partition("-")[2]
    if not (digits.isascii() and digits.isdecimal()):
        raise BenchError(f"{file} is not named after the number of its first image ({SHARDS})")
    return int(digits)


def _images_in(file: Path) -> tuple[int, tuple[int, int, int]]:
    """Return the number and the shape of the images in an ``.npz`` file, by its header."""
    found = npz.keys(file)
    if "arr_0" not in found:
        raise BenchError(f"{file} has no array 'arr_0' (it has {', '.join(found) or 'none'})")
    header = npz.header(file, "arr_0")
    shape = _checked(str(file), header.shape, header.dtype)
    if header.is_fortran:
        raise BenchError(f"{file} is in Fortran order: save np.ascontiguousarray of it")
    return header.shape[0], shape


def _classes_in(file: Path, count: int) -> np.ndarray:
    """Return the classes of the ``count`` images of a shard, int64."""
    if "classes" not in npz.keys(file):
        raise BenchError(f"{file} has no array 'classes'")
    header = npz.header(file, "classes")
    if header.shape != (count,) or not np.issubdtype(header.dtype, np.integer):
        raise BenchError(
            f"{file} has {count} images but classes of shape {header.shape}, dtype {header.dtype}"
        )
    return npz.load(file, "classes").astype(np.int64)


def _open_folder(name: Path, listing: Listing) -> ImageSource:
    listing.check(name)
    facts = [inspect(file) for file in listing.files]
    for fact, file in zip(facts, listing.files, strict=True):
        if fact.shape != facts[0].shape:
            sizes = f"{size_text(fact.shape)}, but {listing.files[0].name} is"
            raise BenchError(
                f"{file} is {sizes} {size_text(facts[0].shape)}: all images need one size, and one "
                "number of channels"
            )
    return ImageSource(
        str(name),
        len(facts),
        _checked(str(name), (1, *facts[0].shape), np.dtype(np.uint8)),
        lambda: (read(file)[None] for file in listing.files),
        formats=dict(Counter(fact.format for fact in facts)),
        skipped=listing.skipped,
        notes=remarks_of(facts, listing.files),
    )


def size_text(shape: tuple[int, ...]) -> str:
    """Return a size for messages, as in 32x32."""
    return "x".join(str(side) for side in shape)
