"""The trace of a search: one row per scored allocation, for plots of score against cost."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

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

    def table(self) -> "pd.DataFrame":
        """Return the rows as a table with ``COLUMNS``."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(COLUMNS))


def notes_table(parts: Sequence[Mapping[str, Sequence[Any]]]) -> "pd.DataFrame":
    """Return one table of notes, its parts one after another."""
    import pandas as pd

    return pd.concat([pd.DataFrame(dict(part)) for part in parts], ignore_index=True)
