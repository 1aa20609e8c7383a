"""The trace of a search: one row per scored allocation, for plots of score against cost."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.files import write_table

COLUMNS = ("evaluation", "forwards", "seconds", "groups", "cost", "fits", "score", "best")


@dataclass
class Trace:
    """Rows of a search in the order of scoring.

    ``evaluation`` counts from 1; ``forwards`` and ``seconds`` are the totals when the score was
    known; ``groups`` is the number that the allocation covers, ``fits`` whether it keeps every
    limit, and ``best`` the lowest score so far of a complete allocation that fits (NaN before the
    first).
    """

    complete: int  # groups of a complete allocation
    rows: list[tuple[int, float, float, int, float, bool, float, float]] = field(
        default_factory=list
    )
    best: float = float("nan")
    _start: float = field(default_factory=time.perf_counter)

    def add(self, forwards: float, groups: int, cost: float, fits: bool, score: float) -> bool:
        """Add one scored allocation and return whether it is the best so far."""
        first = math.isnan(self.best) and not math.isnan(score)
        better = groups == self.complete and fits and (first or score < self.best)
        if better:
            self.best = score
        seconds = time.perf_counter() - self._start
        self.rows.append(
            (len(self.rows) + 1, forwards, seconds, groups, cost, fits, score, self.best)
        )
        return better

    def delay(self, seconds: float) -> None:
        """Make every row ``seconds`` later."""
        at = COLUMNS.index("seconds")
        self.rows = [(*row[:at], row[at] + seconds, *row[at + 1 :]) for row in self.rows]  # type: ignore[misc]

    def write(self, path: Path) -> None:
        """Write the rows as parquet, with ``COLUMNS``, in one step."""
        import pandas as pd

        write_table(path, pd.DataFrame(self.rows, columns=list(COLUMNS)))


def write_notes(path: Path, parts: Sequence[Mapping[str, Sequence[Any]]]) -> None:
    """Write one table of notes, its parts one after another, in one step."""
    import pandas as pd

    write_table(path, pd.concat([pd.DataFrame(dict(part)) for part in parts], ignore_index=True))
