"""What a search found, and where it is kept: jobs that differ after their search share it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import BenchError
from ..core.files import write_atomic
from ..core.precision import Allocation
from ..records.store import RecordStore
from ..search.trace import Trace, read_table, write_notes

Notes = Mapping[str, Sequence[Mapping[str, Sequence[Any]]]]


@dataclass(frozen=True)
class SearchResult:
    """An allocation of all groups, what the search spent in forwards, its trace and its notes.

    ``borrowed`` are the seconds of what was found on disk, a table or the whole search: a search
    costs the same whether or not another one came before it.
    """

    allocation: Allocation
    spent: float
    trace: Trace
    notes: Notes = field(default_factory=dict)
    borrowed: float = 0.0

    def write(self, store: RecordStore, job: str) -> None:
        """The allocation of ``job``; its trace and notes, where there are any."""
        store.clear_traces(job)
        store.write_allocation(job, self.allocation.to_json())
        if self.trace.rows:
            self.trace.write(store.trace_path(job))
        for name, parts in self.notes.items():
            write_notes(store.trace_path(job, name), parts)


class SearchStore:
    """Searches in ``folder``, a folder for each ``mark``, a digest of all that one depends on.

    An interrupted job does not search again, and one that only tunes or judges otherwise does not
    search at all.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, mark: str) -> SearchResult | None:
        """The search of ``mark``, or ``None``. Raises BenchError where a file is damaged."""
        folder = self.folder / mark
        if not (folder / "search.json").is_file():
            return None
        try:
            data = json.loads((folder / "search.json").read_text(encoding="utf-8"))
            allocation = Allocation.from_json(data["allocation"])
            spent, seconds = float(data["forwards"]), float(data["seconds"])
            if not (math.isfinite(spent) and math.isfinite(seconds)):
                raise ValueError("a number is not finite")
            trace = Trace.read(folder / "trace.parquet", int(data["complete"]))
            notes = {name: [read_table(folder / f"{name}.parquet")] for name in data["notes"]}
        except (ValueError, KeyError, TypeError, AttributeError, OSError, BenchError) as error:
            raise BenchError(
                f"the search in {folder} is corrupt ({error}): delete it and run again"
            ) from None
        return SearchResult(allocation, spent, trace, notes, seconds)

    def write(self, mark: str, found: SearchResult, seconds: float) -> None:
        """Keeps ``found``, which took ``seconds``; what is written last says that it is whole."""
        folder = self.folder / mark
        found.trace.write(folder / "trace.parquet")
        for name, parts in found.notes.items():
            write_notes(folder / f"{name}.parquet", parts)
        content = {
            "allocation": found.allocation.to_json(),
            "forwards": found.spent,
            "seconds": seconds,
            "complete": found.trace.complete,
            "notes": list(found.notes),
        }
        write_atomic(folder / "search.json", json.dumps(content).encode())
