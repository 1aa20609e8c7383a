"""Reading ``.npz`` files of unknown origin: every defect becomes one sentence.

Nothing is unpacked before the sizes that the archive and the array's header declare agree and are
below a limit, and no more than the declared size is read.
"""

import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ..core.errors import BenchError

# zipfile, zlib, struct, tokenize and numpy raise almost everything for crafted files.
DAMAGE = (Exception,)
_ENCRYPTED = 0x1  # flag of a member of a zip archive
_LARGEST = 1 << 30  # bytes of one array that is read whole
_PIECE = 1 << 24  # bytes of rows read at once
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
    """What the header of an array declares."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open the archive. Raises BenchError for a defect, here and within the ``with``."""
    try:
        with open(path, "rb") as stream:
            if stream.read(6) == np.lib.format.MAGIC_PREFIX:
                raise BenchError(
                    f"{path} is an .npy file, which holds one array without a name: save an .npz "
                    "with np.savez(file, arr_0=array)"
                )
            with zipfile.ZipFile(stream) as archive:
                yield archive
    except BenchError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{path} is not a readable .npz file, perhaps truncated: {reason[:200]}"
        raise BenchError(message) from None


def keys(path: Path) -> list[str]:
    """Return the names of the arrays in ``path``. Raises BenchError for a damaged file."""
    with _opened(path) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise BenchError(f"{path} holds two arrays of the name '{twice[0]}'")
        return [name for name in names if not name.startswith("__MACOSX/")]


def header(path: Path, key: str) -> Header:
    """Read the header of one array, not its data. Raises BenchError for a damaged file."""
    with _opened(path) as archive, _member(archive, key) as file:
        return _read_header(archive, key, file)


def _member(archive: zipfile.ZipFile, key: str) -> IO[bytes]:
    member = archive.getinfo(f"{key}.npy")
    if member.flag_bits & _ENCRYPTED:
        raise BenchError(f"{archive.filename}: '{key}' is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BenchError(
            f"{archive.filename}: '{key}' is compressed in a way that np.savez does not write"
        )
    return archive.open(member)


def _read_header(archive: zipfile.ZipFile, key: str, file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"'{key}' has a header of version {version}")
    shape, is_fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise BenchError(
            f"{archive.filename}: '{key}' has dtype object: Python objects are not read"
        )
    size, stored = math.prod(shape) * dtype.itemsize, archive.getinfo(f"{key}.npy").file_size
    if min(shape, default=0) < 0 or file.tell() + size != stored:
        raise ValueError(f"'{key}' declares {size} bytes for shape {shape}, the archive {stored}")
    return Header(shape, is_fortran, dtype)


def rows(path: Path, key: str, count: int) -> Iterator[np.ndarray]:
    """Yield at most ``count`` rows at a time of an array in C order without Python objects.

    Raises BenchError for a damaged file.
    """
    with _opened(path) as archive, _member(archive, key) as file:
        shape, _, dtype = _read_header(archive, key, file)
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        count = max(1, min(count, _PIECE // max(row_bytes, 1)))
        for start in range(0, shape[0], count):
            size = min(count, shape[0] - start)
            content = file.read(size * row_bytes)
            if len(content) != size * row_bytes:
                raise EOFError(f"'{key}' ends before row {start + size} of {shape[0]}")
            yield np.frombuffer(content, dtype).reshape(size, *shape[1:])


def load(path: Path, key: str) -> np.ndarray:
    """Read one array. Raises BenchError for a damaged file and an array of over a gibibyte."""
    with _opened(path) as archive, _member(archive, key) as file:
        shape, is_fortran, dtype = _read_header(archive, key, file)
        size = math.prod(shape) * dtype.itemsize
        if size > _LARGEST:
            raise BenchError(f"{path}: '{key}' is of {size} bytes, at most {_LARGEST} are read")
        content = file.read(size)
        if len(content) != size:
            raise EOFError(f"'{key}' ends after {len(content)} of {size} bytes")
        array = np.frombuffer(content, dtype) if size else np.empty(0, dtype)
        return array.reshape(shape, order="F" if is_fortran else "C")
