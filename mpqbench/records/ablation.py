"""What an ablation concludes from its records, as tables and figures show it."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from .columns import OUTPUT_ERRORS, frechet_names
from .schema import JobRecord

SWEEP_COLUMNS = ("setting", "value")


@dataclass(frozen=True, eq=False)
class AblationResult:
    """Records of a factorial or of sweeps, and the effects of a factorial.

    ``cells`` has a row for each cell: a column for every factor, for sweeps also ``setting`` (the
    dotted path that is varied) and ``value`` (empty for a level without that setting), and
    ``method``, by which records name the cell. ``batches`` are records of one protocol each.

    Of a factorial, ``effects`` has a row for each effect, ``levels`` are those of every factor,
    ``base`` the levels that others are compared with, and ``means`` the value of every cell (levels
    of factor 1, levels of factor 2, ...) by budget and response, NaN if a cell has none. Sweeps
    have no effects: ``None``.
    """

    method: str
    cells: pd.DataFrame
    batches: Sequence[Sequence[JobRecord]]
    effects: pd.DataFrame | None = None
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    base: Mapping[str, str] = field(default_factory=dict)
    means: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def records(self) -> list[JobRecord]:
        """The records of all batches."""
        return [record for batch in self.batches for record in batch]


def response_headers(extractor: str | None) -> dict[str, str]:
    """Return the header of every response; that of the Fréchet distance depends on its features."""
    return {"fd": frechet_names(extractor)[0], **OUTPUT_ERRORS}


def change_of(row: Mapping[Hashable, Any]) -> str:
    """Return ``searcher: tss → ilp``, two of them joined by ``and`` for an interaction."""
    changes = [f"{row['factor']}: {row['versus']} → {row['level']}"]
    if row["factor_2"]:
        changes.append(f"{row['factor_2']}: {row['versus_2']} → {row['level_2']}")
    return " and ".join(changes)
