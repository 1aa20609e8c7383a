"""Images to be scored, from memory or disk, in one order and one layout: uint8 NHWC."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import BenchError
from . import npz

_CHUNK = 64  # rows read at once: 12 MB of 256x256 RGB
SHARDS = "shard-*.npz"
Rows = tuple[np.ndarray, ...]  # arrays with one row for each image


@dataclass(frozen=True, eq=False)
class ImageSource:
    """``count`` uint8 images of one ``shape`` (H, W, C), C 1 or 3, in a fixed order.

    ``chunks`` gives an iterator over arrays of images. ``classes`` is int64 (N,) where the source
    knows the classes (sample shards), else None.
    """

    name: str
    count: int
    shape: tuple[int, int, int]
    chunks: Callable[[], Iterable[np.ndarray]]
    classes: np.ndarray | None = None

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


def open_images(source: np.ndarray | str | Path) -> ImageSource:
    """Open images from an array, a folder or a file.

    ``source`` is a uint8 array (N, H, W, C), an ADM-style ``.npz`` with the key ``arr_0``, a folder
    of sample shards ``shard-*.npz``, each with ``arr_0`` and ``classes``, or a folder of PNG files,
    grey or RGB, in the order of their names. Raises BenchError for anything else and for damaged
    files; defects that only the pixels show are raised by ``batches``.
    """
    if isinstance(source, np.ndarray):
        shape = _checked("the image array", source.shape, source.dtype)
        return ImageSource("array", len(source), shape, lambda: [source])
    path = Path(source)
    if not path.exists():
        raise BenchError(f"{path} does not exist: give a folder of PNG files or an .npz file")
    if path.is_file():
        return _open_files(path, [path], ["arr_0"])
    if shards := sorted(path.glob(SHARDS)):
        return _open_files(path, shards, ["arr_0", "classes"])
    if files := sorted(p for p in path.iterdir() if p.suffix.lower() == ".png"):
        return _open_pngs(path, files)
    raise BenchError(f"{path} holds neither PNG files nor sample shards ({SHARDS})")


def first_images(folder: Path, count: int) -> np.ndarray:
    """Return the first ``count`` images of a folder of sample shards, (count, H, W, C).

    Raises as ``first_shards``.
    """
    shards = list(first_shards(folder, count))
    parts = [part for path in shards for part in open_images(path).chunks()]
    return np.concatenate(parts)[:count]


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
    return (shape[1], shape[2], shape[3])


def _open_files(name: Path, files: list[Path], wanted: list[str]) -> ImageSource:
    count, shapes = 0, []
    for file in files:
        found = npz.keys(file)
        for key in set(wanted).difference(found):
            raise BenchError(f"{file} has no array '{key}' (it has {', '.join(found)})")
        shape, is_fortran, dtype = npz.header(file, "arr_0")
        shapes.append(_checked(str(file), shape, dtype))
        if is_fortran:
            raise BenchError(f"{file} is in Fortran order: save np.ascontiguousarray of it")
        if shapes[-1] != shapes[0]:
            sizes = f"{size_text(shapes[-1])}, those before {size_text(shapes[0])}"
            raise BenchError(f"{file} has images of {sizes}")
        count += shape[0]
    classes = None
    if "classes" in wanted:
        parts = [npz.load(file, ["classes"])["classes"] for file in files]
        classes = np.concatenate(parts).astype(np.int64)
        if classes.shape != (count,):
            raise BenchError(f"{name} has {count} images but classes of shape {classes.shape}")
    return ImageSource(
        str(name),
        count,
        shapes[0],
        lambda: (rows for file in files for rows in npz.rows(file, "arr_0", _CHUNK)),
        classes,
    )


def _open_pngs(name: Path, files: list[Path]) -> ImageSource:
    first = _read_png(files[0])

    def chunks() -> Iterator[np.ndarray]:
        for file in files:
            image = _read_png(file)
            if image.shape != first.shape:
                sizes = f"{size_text(image.shape)}, but {files[0].name} is {size_text(first.shape)}"
                raise BenchError(f"{file} is {sizes}: all images need one size")
            yield image[None]

    return ImageSource(
        str(name), len(files), _checked(str(name), (1, *first.shape), first.dtype), chunks
    )


def _read_png(path: Path) -> np.ndarray:
    """Read one PNG as uint8 (H, W, C); refuse palettes, transparency and 16 bits."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, pixels = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise BenchError(f"{path} is not a readable PNG file, perhaps truncated: {error}") from None
    if mode not in ("L", "RGB"):
        raise BenchError(f"{path} has mode {mode}: only 8-bit grey (L) and RGB are read")
    return pixels[:, :, None] if mode == "L" else pixels


def size_text(shape: tuple[int, ...]) -> str:
    """Return a size for messages, as in 32x32."""
    return "x".join(str(side) for side in shape)
