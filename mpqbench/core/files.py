"""Files that are written in one step, tables in them, and digests of them.

The temporary file of a write names its machine and process, so that one that was left behind by a
process that was killed can be told from one that is being written.
"""

import hashlib
import io
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BenchError, NotWritable
from .processes import has_ended, machine

if TYPE_CHECKING:
    import pandas as pd

_KEPT_NAME = 40  # characters of a name in that of its temporary file, which may not be too long
_UNFINISHED = re.compile(r"\..+-(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]+)-[^-]+\.tmp")
_SECONDS = 3600.0  # a write takes less, whatever the machine


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in one step: a reader sees the old file or the new one.

    The temporary file lies in the same folder, because a rename is atomic only within one file
    system, and it is flushed to the disk before the rename. Creates the folder. Raises NotWritable.
    """
    try:
        with _written_beside(path, content) as name:
            os.replace(name, path)
    except OSError as error:
        raise NotWritable(f"{path} cannot be written: {reason_of(error)}") from None


def made_once(path: Path, content: bytes) -> bool:
    """Write ``content`` to ``path`` unless there is a file; return whether this call did.

    Of several processes that try, on several machines too, exactly one does. Creates the folder.
    Raises NotWritable.
    """
    try:
        with _written_beside(path, content) as name:
            try:
                os.link(name, path)
            except FileExistsError:  # an answer of NFS may be lost: the second try then fails
                return os.stat(name).st_nlink == 2
            except OSError:  # a file system without links
                return _made_exclusively(path, content)
            return True
    except OSError as error:
        raise NotWritable(f"{path} cannot be written: {reason_of(error)}") from None


def _made_exclusively(path: Path, content: bytes) -> bool:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


@contextmanager
def _written_beside(path: Path, content: bytes) -> Iterator[str]:
    """Give the name of a temporary file with ``content`` in the folder of ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name[:_KEPT_NAME]}-{machine()}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp makes it private to the user; results are for sharing
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def remove_unfinished(folders: Iterable[Path]) -> list[Path]:
    """Remove the temporary files of killed writes in ``folders``; return their paths.

    These are of a process of this machine that has ended, or over an hour old. Raises NotWritable.
    """
    removed = []
    for path in (path for folder in folders for path in folder.glob(".*.tmp")):
        found = _UNFINISHED.fullmatch(path.name)
        if found is None:
            continue
        try:
            is_here = found["machine"] == machine()
            ended = has_ended(int(found["pid"])) if is_here else False
            if ended or time.time() - path.stat().st_mtime > _SECONDS:
                path.unlink()
                removed.append(path)
        except FileNotFoundError:  # written, or removed by another process
            continue
        except OSError as error:
            raise NotWritable(f"{path} cannot be removed: {reason_of(error)}") from None
    return removed


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as parquet in one step. Raises NotWritable."""
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    write_atomic(path, content.getvalue())


def check_writable(folder: Path) -> None:
    """Raise NotWritable if ``folder`` cannot be made or takes no file; leave nothing behind."""
    try:
        existing = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
        reason = _obstacle(folder, existing)
        if not reason:
            with tempfile.TemporaryFile(dir=existing) as file:
                file.write(b"0" * 4096)
    except OSError as error:
        reason = f"{existing}: {reason_of(error)}"
    if reason:
        raise NotWritable(f"results cannot go into {folder}: {reason}")


def _obstacle(folder: Path, existing: Path) -> str:
    """Return what keeps ``folder`` from being made below ``existing``; empty if nothing does."""
    if not existing.exists():
        return f"{existing} is a link to nothing"
    if not existing.is_dir():
        return f"{existing} is a file"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"{existing} is not writable"
    longest = os.pathconf(existing, "PC_NAME_MAX")
    parts = folder.absolute().relative_to(existing.absolute()).parts
    if any(len(os.fsencode(part)) > longest for part in parts):
        return f"a name in it has over {longest} bytes"
    return ""


def expanded(path: Path | str) -> Path:
    """Return ``path`` with the home folder for ``~``. Raises BenchError for an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BenchError(f"{path}: there is no user of that name; write the folder out") from None


def reason_of(error: OSError) -> str:
    """Return why a file cannot be used, without its name."""
    return (error.strerror or str(error)).lower()


def digest_of_bytes(content: bytes) -> str:
    """Return the first 16 hex digits of the SHA-256 of ``content``."""
    return hashlib.sha256(content).hexdigest()[:16]


def digest_of_file(path: Path) -> str | None:
    """Return ``digest_of_bytes`` of a file; ``None`` where it is missing or cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return None
