"""The cache: everything that is computed once and kept for later jobs."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import BenchError
from .files import reason_of, write_atomic
from .progress import Reporter

_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Cache:
    """Entries in ``folder``, one file each: the SHA-256 of the content, then the content.

    An entry is addressed by the digest of all that its content depends on, in its name or in the
    name of its folder, and is therefore never out of date. A file is written in one step, so that
    several processes can share a folder. Content is made of tensors, numbers, texts, ``None``, and
    lists, tuples and dictionaries of these; tensors come back on the CPU.
    """

    folder: Path
    reporter: Reporter = field(default_factory=Reporter)

    def at(self, *parts: str) -> "Cache":
        """Return the part of the cache in a folder below."""
        return replace(self, folder=self.folder.joinpath(*parts))

    def holds(self, name: str) -> bool:
        """Return whether an entry is there and whole; a damaged one is reported."""
        return self._stored(name) is not None

    def read(self, name: str) -> Any:
        """Return the content of an entry, ``None`` where ``holds`` is false."""
        import torch

        stored = self._stored(name)
        if stored is None:
            return None
        return torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)

    def require(self, name: str) -> Any:
        """Return the content of an entry. Raises BenchError where there is none."""
        content = self.read(name)
        if content is None:
            raise BenchError(
                f"{self._path(name)} is missing or damaged: delete {self.folder} and run again"
            )
        return content

    def write(self, name: str, content: Any) -> None:
        """Keep ``content`` under ``name``, in place of what was there."""
        import torch

        buffer = io.BytesIO()
        torch.save(content, buffer)
        stored = buffer.getvalue()
        write_atomic(self._path(name), hashlib.sha256(stored).digest() + stored)

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the content of an entry, made and kept where there is none."""
        content = self.read(name)
        if content is None:
            content = make()
            self.write(name, content)
        return content

    def remove(self, name: str) -> None:
        """Forget an entry."""
        self._path(name).unlink(missing_ok=True)

    def remove_all(self, prefix: str) -> None:
        """Forget the entries whose names begin with ``prefix``."""
        for path in self.folder.glob(f"{prefix}*.pt"):
            path.unlink(missing_ok=True)

    def _stored(self, name: str) -> bytes | None:
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BenchError(f"{path} cannot be read: {reason_of(error)}") from None
        expected, stored = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(stored).digest() == expected:
            return stored
        self.reporter.say(f"  {path} is damaged: its content is computed again")
        return None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"
