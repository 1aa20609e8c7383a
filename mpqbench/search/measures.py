"""What an allocation may cost: additive measures over the searchable groups, with their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..precision import Precision


@dataclass(frozen=True)
class Measure:
    """One additive cost: ``table`` gives what a group adds at each of its choices.

    ``limit`` is infinity where there is no bound; ``unit`` is for messages.
    """

    name: str
    unit: str
    table: Mapping[str, Mapping[Precision, float]]
    limit: float

    def of(self, allocation: Mapping[str, Precision]) -> float:
        """Cost of an allocation, which may be partial."""
        return sum(self.table[group][precision] for group, precision in allocation.items())
