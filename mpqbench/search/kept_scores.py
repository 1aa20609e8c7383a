"""The scores of a search in the cache, from which a search that was stopped goes on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core.cache import Cache
from ..core.settings import digest_of
from .problem import Partial

KEEP_SECONDS = 10.0  # of scoring, that a stop may lose
_Scores = tuple[np.ndarray, float]


@dataclass
class KeptScores:
    """The scorings of one search, one call after the other, in entries of ``cache``.

    A search is a pure function of the scores that it is given, so a search that asks again for what
    was kept comes to where it was stopped, with the same trace. ``fingerprint`` is the digest of
    all that the search depends on. An entry holds consecutive calls, and its name the number of the
    first. ``seconds`` are those that the calls read from the cache once took.
    """

    cache: Cache
    fingerprint: str
    seconds: float = 0.0
    calls: int = 0
    _known: list[dict[str, Any]] = field(default_factory=list)  # read, for the next calls
    _new: list[dict[str, Any]] = field(default_factory=list)  # not written yet
    _replays: bool = False
    _written: float = field(default_factory=time.monotonic)

    def scores(self, allocations: Sequence[Partial], make: Callable[[], _Scores]) -> _Scores:
        """Return scores (n,) and forwards as ``make`` does, or as it did in this call before."""
        asked = digest_of([{g: str(p) for g, p in each.items()} for each in allocations])
        kept = self._next(asked)
        if kept is not None:
            self.calls += 1
            self.seconds, self._replays = self.seconds + kept["seconds"], True
            return np.array(kept["scores"], dtype=float), kept["forwards"]
        if self._replays:
            self._replays = False
            self.cache.reporter.say(f"  the search goes on after {self.calls} kept scorings")
        began = time.monotonic()
        scores, forwards = make()
        self.calls += 1  # one that is stopped is none
        self._new.append(
            {
                "asked": asked,
                "scores": np.asarray(scores, dtype=float).tolist(),
                "forwards": float(forwards),
                "seconds": time.monotonic() - began,
            }
        )
        if time.monotonic() - self._written >= KEEP_SECONDS:
            self.write()
        return scores, forwards

    def write(self) -> None:
        """Keep the calls that are not kept yet."""
        if self._new:
            self.cache.write(self._name(self.calls - len(self._new)), self._new)
            self._new = []
        self._written = time.monotonic()

    def remove(self) -> None:
        """Forget all calls."""
        self.cache.remove_all(f"{self.fingerprint}-")

    def _next(self, asked: str) -> dict[str, Any] | None:
        """Return what was kept of the next call; ``None`` where nothing of ``asked`` was."""
        if self._new:  # an entry begins with every call that was not kept
            return None
        if not self._known or self._known[0]["asked"] != asked:
            self._known = self.cache.read(self._name(self.calls)) or []
        if self._known and self._known[0]["asked"] == asked:
            return self._known.pop(0)
        self._known = []
        return None

    def _name(self, call: int) -> str:
        return f"{self.fingerprint}-{call:08d}"
