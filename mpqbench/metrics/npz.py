"""Reading ``.npz`` files that others wrote: every defect becomes one sentence."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ..core.errors import BenchError

DAMAGE = (
    OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


Arrays = Mapping[str, np.ndarray]


class Header(NamedTuple):
    """What an array's header says: its shape, its dtype, whether it is in Fortran order."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool


def _damaged(path: Path, error: BaseException) -> BenchError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BenchError(f"{path} is not a readable .npz file, perhaps truncated: {reason}")


def keys(path: Path) -> list[str]:
    """Names of the arrays in ``path``, in stored order."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except DAMAGE as error:
        raise _damaged(path, error) from None


def header(path: Path, key: str) -> Header:
    """Shape and dtype of one array, without reading its data."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
            return _read_header(stream)
    except DAMAGE as error:
        raise _damaged(path, error) from None


def _read_header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"npy format version {version} is not supported")
    shape, fortran, dtype = readers[version](stream)
    return Header(shape, dtype, fortran)


def rows(path: Path, key: str, count: int) -> Iterator[np.ndarray]:
    """The array's rows in pieces of at most ``count``: a large file never lies in memory whole.

    The array must be in C order and without Python objects; the caller checks ``header`` first.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
            shape, dtype, _ = _read_header(stream)
            row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
            for start in range(0, shape[0], count):
                size = min(count, shape[0] - start)
                content = stream.read(size * row_bytes)
                if len(content) != size * row_bytes:
                    raise EOFError(f"'{key}' ends before row {start + size} of {shape[0]}")
                yield np.frombuffer(content, dtype).reshape(size, *shape[1:])
    except DAMAGE as error:
        raise _damaged(path, error) from None


def load(path: Path, wanted: list[str]) -> Arrays:
    """The arrays of ``path`` among ``wanted``; absent ones are missing from the result."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in wanted if key in archive.files}
    except (*DAMAGE, AttributeError) as error:
        raise _damaged(path, error) from None
