"""The result of a search: in the folder of a run, and in the cache."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.precision import Allocation
from ..records.store import RecordStore
from ..search.trace import COLUMNS, Trace, write_notes

Notes = Mapping[str, Sequence[Mapping[str, Sequence[Any]]]]


@dataclass(frozen=True)
class SearchResult:
    """An allocation of all groups, the forwards that the search spent, its trace and its notes.

    ``cached_seconds`` are those that a table or a whole search took to compute before it was read
    from the cache: a search costs the same whether or not the cache has its scores.
    """

    allocation: Allocation
    spent: float
    trace: Trace
    notes: Notes = field(default_factory=dict)
    cached_seconds: float = 0.0

    def write(self, store: RecordStore, job: str) -> None:
        """Write the allocation of ``job``, and its trace and notes where there are any."""
        store.clear_traces(job)
        store.write_allocation(job, self.allocation.to_json())
        if self.trace.rows:
            self.trace.write(store.trace_path(job))
        for name, parts in self.notes.items():
            write_notes(store.trace_path(job, name), parts)

    def to_cache(self, seconds: float) -> dict[str, Any]:
        """Return the content of an entry of the cache, for a search that took ``seconds``."""
        import pandas as pd

        tables = {
            name: pd.concat([pd.DataFrame(dict(part)) for part in parts], ignore_index=True)
            for name, parts in self.notes.items()
        }
        trace = pd.DataFrame(self.trace.rows, columns=list(COLUMNS))
        return {
            "allocation": dict(self.allocation.to_json()),
            "spent": float(self.spent),
            "seconds": float(seconds),
            "complete": self.trace.complete,
            "trace": trace.to_dict("list"),
            "notes": {name: table.to_dict("list") for name, table in tables.items()},
        }

    @classmethod
    def from_cache(cls, content: Mapping[str, Any]) -> "SearchResult":
        """Return the result whose ``to_cache`` is ``content``."""
        rows = list(zip(*(content["trace"][name] for name in COLUMNS), strict=True))
        trace = Trace(content["complete"], rows, rows[-1][-1] if rows else float("nan"))
        notes = {name: [table] for name, table in content["notes"].items()}
        allocation = Allocation.from_json(content["allocation"])
        return cls(allocation, content["spent"], trace, notes, content["seconds"])
