"""The state of a training in the cache, from which a stopped training is resumed."""

import time
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..core.cache import Cache


@dataclass
class Checkpoint:
    """The state of one training, saved between two training steps, ``every`` seconds.

    ``fingerprint`` is the digest of all that the training depends on but ``part``, the digest of
    the numbers that it begins with: another processor may have rounded otherwise. Without a cache
    nothing is kept. With ``required`` the training must be there to its end: nothing is trained.
    """

    cache: Cache | None = None
    fingerprint: str = ""
    every: float = 60.0
    part: str = ""
    required: bool = False
    _saved: float = field(default_factory=time.monotonic)

    def of(self, part: str) -> Self:
        """Return the checkpoint of a training that begins with other numbers."""
        return replace(self, part=part)

    @property
    def due(self) -> bool:
        """Whether ``every`` seconds have passed since the state was saved."""
        return self.cache is not None and time.monotonic() - self._saved >= self.every

    @property
    def exists(self) -> bool:
        """Whether there is a state, of this part or of another one."""
        return self.cache is not None and self.cache.holds(self.fingerprint)

    def remove(self) -> None:
        """Forget the state."""
        if self.cache is not None:
            self.cache.remove(self.fingerprint)

    def save(self, state: dict[str, Any]) -> None:
        """Keep ``state``: tensors, numbers, texts and containers of these."""
        if self.cache is not None:
            self.cache.write(self.fingerprint, {"part": self.part, "state": state})
            self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last, on the CPU, or ``None``."""
        content = None if self.cache is None else self.cache.read(self.fingerprint)
        return content["state"] if content is not None and content["part"] == self.part else None
