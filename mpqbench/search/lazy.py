"""A scorer that is built when the first score is asked for, and tells how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from ..core.errors import Exhausted
from ..core.progress import LINE_EVERY_SECONDS, Reporter
from .problem import Partial, Scorer
from .table_store import StoredTable, TableStore


class LazyScorer:
    """Makes its scorer late: ``uniform`` never asks, so it needs no calibration.

    Tables are kept in ``store`` under ``mark``; ``borrowed`` are the seconds that a table found
    there once took.
    """

    def __init__(
        self,
        make: Callable[[], Scorer],
        store: TableStore,
        mark: str,
        title: str,
        reporter: Reporter,
    ) -> None:
        self.borrowed = 0.0
        self._make, self._title, self._reporter = make, title, reporter
        self._store, self._mark = store, mark
        self._scored, self._began, self._told = 0, time.monotonic(), time.monotonic()

    @cached_property
    def _scorer(self) -> Scorer:
        return self._make()

    @cached_property
    def _stored(self) -> StoredTable | None:
        return self._store.read(self._mark)

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """As ``Scorer.table``, computed or found."""
        stored = self._stored
        if stored is not None:
            if stored.forwards > afford:
                raise Exhausted(f"the table takes {stored.forwards:.4g} forwards")
            self.borrowed += stored.seconds
            return stored.table, stored.forwards
        price, began = self._scorer.table_price(), time.monotonic()
        table, forwards = self._scorer.table(afford)
        made = StoredTable(table, forwards, time.monotonic() - began, price)
        self._store.write(self._mark, made)
        return table, forwards

    def table_price(self) -> float:
        """As ``Scorer.table_price``."""
        stored = self._stored
        return self._scorer.table_price() if stored is None else stored.price

    def price(self, allocation: Partial) -> float:
        """As ``Scorer.price``."""
        return self._scorer.price(allocation)

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """As ``Scorer.scores``, with a line every ten seconds."""
        found = self._scorer.scores(allocations)
        self._scored += len(allocations)
        now = time.monotonic()
        if now - self._told >= LINE_EVERY_SECONDS:
            self._told = now
            line = f"{self._scored} scorings after {now - self._began:.0f} s"
            self._reporter.say(f"  {self._title}: {line}")
        return found
