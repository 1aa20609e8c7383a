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
        """Yield the images in order as (size, H, W, C); the last batch may be shorter.

        Raises BenchError where a file turns out to be damaged or of another size.
        """
        held: list[np.ndarray] = []
        ready = 0
        for chunk in self.chunks():
            held.append(chunk)
            ready += len(chunk)
            while ready >= size:
                joined = np.concatenate(held) if len(held) > 1 else held[0]
                yield joined[:size]
                held, ready = [joined[size:]], ready - size
        if ready:
            yield np.concatenate(held)

    def digest(self) -> str:
        """Return 16 hex digits of the SHA-256 of shape and pixels, however they are stored."""
        state = hashlib.sha256(repr((self.count, *self.shape)).encode())
        for batch in self.batches(_CHUNK):
            state.update(np.ascontiguousarray(batch).tobytes())
        return state.hexdigest()[:16]


def open_images(source: np.ndarray | str | Path) -> ImageSource:
    """Open images from an array, a folder or a file.

    ``source`` is one of: a uint8 array (N, H, W, C); an ADM-style ``.npz`` with the key ``arr_0``;
    a folder of sample shards ``shard-*.npz``, each with ``arr_0`` and ``classes``, whatever else
    lies in the folder; a folder of PNG files, grey or RGB, in the order of their names.

    Raises BenchError for a missing path, an empty folder, a damaged file, and a wrong dtype, rank
    or size. Defects that only the pixels show are raised by ``batches``.
    """
    if isinstance(source, np.ndarray):
        shape = _checked("the image array", source.shape, source.dtype)
        return ImageSource("array", len(source), shape, lambda: [source])
    path = Path(source)
    if not path.exists():
        raise BenchError(f"{path} does not exist: give a folder of PNG files or an .npz file")
    if path.is_file():
        return _open_files(path, [path])
    if shards := sorted(path.glob(SHARDS)):
        classes = [_required(shard, "classes") for shard in shards]
        return _open_files(path, shards, np.concatenate(classes).astype(np.int64))
    if files := sorted(p for p in path.iterdir() if p.suffix.lower() == ".png"):
        return _open_pngs(path, files)
    raise BenchError(f"{path} holds neither PNG files nor sample shards ({SHARDS})")


def _required(path: Path, key: str) -> np.ndarray:
    found = npz.load(path, [key])
    if key not in found:
        raise BenchError(f"{path} has no array '{key}' (it has {', '.join(npz.keys(path))})")
    return found[key]


def _checked(where: str, shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, int, int]:
    """Return (H, W, C) of a stack of images, or raise BenchError where the array is none."""
    if dtype != np.uint8:
        raise BenchError(f"{where} has dtype {dtype}: images are uint8 from 0 to 255")
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise BenchError(f"{where} has shape {tuple(shape)}: images are (N, H, W, C), C 1 or 3")
    if 0 in shape:
        raise BenchError(f"{where} has shape {tuple(shape)}: there is no image in it")
    return (shape[1], shape[2], shape[3])


def _open_files(name: Path, files: list[Path], classes: np.ndarray | None = None) -> ImageSource:
    count, shapes = 0, []
    for file in files:
        if "arr_0" not in npz.keys(file):
            raise BenchError(f"{file} has no array 'arr_0': images are stored under that key")
        head = npz.header(file, "arr_0")
        shapes.append(_checked(str(file), head.shape, head.dtype))
        if head.fortran:
            raise BenchError(f"{file} is in Fortran order: save np.ascontiguousarray of it")
        if shapes[-1] != shapes[0]:
            sizes = f"{_size(shapes[-1])}, those before {_size(shapes[0])}"
            raise BenchError(f"{file} has images of {sizes}")
        count += head.shape[0]
    if classes is not None and classes.shape != (count,):
        raise BenchError(f"{name} has {count} images but classes of shape {classes.shape}")

    def chunks() -> Iterator[np.ndarray]:
        for file in files:
            yield from npz.rows(file, "arr_0", _CHUNK)

    return ImageSource(str(name), count, shapes[0], chunks, classes)


def _open_pngs(name: Path, files: list[Path]) -> ImageSource:
    first = _read_png(files[0])

    def chunks() -> Iterator[np.ndarray]:
        for file in files:
            image = _read_png(file)
            if image.shape != first.shape:
                raise BenchError(
                    f"{file} is {_size(image.shape)}, but {files[0].name} is {_size(first.shape)}: "
                    "all images need one size"
                )
            yield image[None]

    height, width, channels = first.shape
    return ImageSource(str(name), len(files), (height, width, channels), chunks)


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


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in shape)
