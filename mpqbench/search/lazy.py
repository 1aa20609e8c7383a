"""A scorer that is built at the first score, and whose additive tables are kept in the cache."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..core.cache import Cache
from ..core.errors import Exhausted
from ..core.progress import LINE_EVERY_SECONDS
from .kept_scores import KeptScores
from .problem import Partial, Scorer


class LazyScorer(Scorer):
    """Builds its scorer at the first score: a searcher that asks for none needs no calibration.

    The additive table is the entry ``fingerprint`` of ``cache``: computed once for all searchers
    of a run, and counted for each. ``cached_seconds`` is what a table from there once took. With
    ``kept``, joint scores that a stopped search had are not computed again.
    """

    def __init__(
        self, make: Callable[[], Scorer], cache: Cache, fingerprint: str, title: str
    ) -> None:
        self.cached_seconds = 0.0
        self._make, self._cache, self._title = make, cache, title
        self._fingerprint = fingerprint
        self.kept: KeptScores | None = None
        self._scored, self._began, self._told = 0, time.monotonic(), time.monotonic()

    @cached_property
    def _scorer(self) -> Scorer:
        return self._make()

    @cached_property
    def _stored(self) -> dict[str, Any] | None:
        """The entry of the cache: table, forwards, seconds, and the price asked in advance."""
        return self._cache.read(self._fingerprint)

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """As ``Scorer.table``, computed or read."""
        stored = self._stored
        if stored is None:
            price, began = self._scorer.table_price(), time.monotonic()
            table, forwards = self._scorer.table(afford)
            content = {
                "table": {group: np.asarray(s, dtype=float).tolist() for group, s in table.items()},
                "forwards": float(forwards),
                "seconds": time.monotonic() - began,
                "price": float(price),
            }
            self._cache.write(self._fingerprint, content)
            return table, forwards
        if stored["forwards"] > afford:
            raise Exhausted(f"the table takes {stored['forwards']:.4g} forwards")
        self.cached_seconds += stored["seconds"]
        arrays = {group: np.array(scores, dtype=float) for group, scores in stored["table"].items()}
        return arrays, stored["forwards"]

    @property
    def resumed_seconds(self) -> float:
        return 0.0 if self.kept is None else self.kept.seconds

    def table_price(self) -> float:
        return self._scorer.table_price() if self._stored is None else self._stored["price"]

    def price(self, allocation: Partial) -> float:
        return self._scorer.price(allocation)

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """As ``Scorer.scores``, with a line of progress every ten seconds."""
        if self.kept is None:
            scores = self._scorer.scores(allocations)
        else:
            scores = self.kept.scores(allocations, lambda: self._scorer.scores(allocations))
        self._scored += len(allocations)
        now = time.monotonic()
        if now - self._told >= LINE_EVERY_SECONDS:
            self._told = now
            self._cache.reporter.say(
                f"  {self._title}: {self._scored} scorings after {now - self._began:.0f} s"
            )
        return scores
