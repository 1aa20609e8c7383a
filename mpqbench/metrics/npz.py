"""Reading ``.npz`` files of unknown origin: every defect becomes one sentence."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from ..core.errors import BenchError

DAMAGE = (
    OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip

Header = tuple[tuple[int, ...], bool, np.dtype]  # shape, whether in Fortran order, dtype
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{path} is not a readable .npz file, perhaps truncated: {reason}"
        raise BenchError(message) from None


def keys(path: Path) -> list[str]:
    """Return the names of the arrays in ``path``. Raises BenchError for a damaged file."""
    with _damage_named(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def header(path: Path, key: str) -> Header:
    """Read the header of one array, not its data. Raises BenchError for a damaged file."""
    with _damage_named(path), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        return _read_header(file)


def _read_header(stream: IO[bytes]) -> Header:
    return _HEADERS[np.lib.format.read_magic(stream)](stream)


def rows(path: Path, key: str, count: int) -> Iterator[np.ndarray]:
    """Yield at most ``count`` rows at a time of an array in C order without Python objects.

    Raises BenchError for a damaged file.
    """
    with _damage_named(path), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        shape, _, dtype = _read_header(file)
        row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
        for start in range(0, shape[0], count):
            size = min(count, shape[0] - start)
            content = file.read(size * row_bytes)
            if len(content) != size * row_bytes:
                raise EOFError(f"'{key}' ends before row {start + size} of {shape[0]}")
            yield np.frombuffer(content, dtype).reshape(size, *shape[1:])


def load(path: Path, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the ``wanted`` arrays that ``path`` has. Raises BenchError for a damaged file."""
    with _damage_named(path), np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in wanted if key in archive.files}
