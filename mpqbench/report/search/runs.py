"""The searches of a run: which may be compared, and the tables they left on disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ...core.errors import BenchError
from ...records.schema import JobRecord
from ...records.store import RecordStore
from ..table import Table
from .settings import SEARCH, key_of, settings_of, without

UNIFORM, GIVEN = "uniform", "given"  # searchers that search nothing
ByMethod = Mapping[str, Sequence[JobRecord]]


@dataclass(frozen=True)
class SearchComparison:
    """Searches of one block of the leaderboard at one budget, seeds in ascending order.

    ``plain`` are methods of uniform precision that quantize as one of the searches does: what they
    have to beat. ``name`` is a file name part.
    """

    name: str
    model: str
    budget: str
    extractor: str | None
    searches: ByMethod
    plain: ByMethod

    @property
    def title(self) -> str:
        """Model and budget."""
        return f"{self.model}, {self.budget}"


def is_search(record: JobRecord) -> bool:
    """Whether a searcher chose the allocation of this done job: not the budget, not its recipe."""
    if record.status != "done" or record.is_full_precision:
        return False
    return _searcher(record) not in (UNIFORM, GIVEN)


def contests(
    records: Iterable[JobRecord], table: Table, names: Sequence[str]
) -> list[SearchComparison]:
    """Comparisons in the order of the leaderboard ``table`` of ``records``.

    ``names`` are the file name parts of its blocks. Blocks and budgets without a search have none.
    """
    by_job = {record.job: record for record in records if record.status == "done"}
    found = []
    for block, name in zip(table.blocks, names, strict=True):
        own = [by_job[str(row["job"])] for row in block.rows if row["job"] in by_job]
        for budget in dict.fromkeys(record.budget for record in own):
            group = [record for record in own if record.budget == budget]
            searches = [record for record in group if is_search(record)]
            if searches:
                same = {_quantizer(record) for record in searches}
                plain = [r for r in group if _searcher(r) == UNIFORM and _quantizer(r) in same]
                found.append(
                    SearchComparison(
                        f"{name}-{budget}", block.model, budget, block.extractor,
                        _by_method(searches), _by_method(plain),
                    )
                )  # fmt: skip
    return found


def read_table(store: RecordStore, job: str, table: str = "") -> pd.DataFrame | None:
    """The trace of a search, or a table it noted; ``None`` where it left none.

    Raises BenchError where the file is unreadable.
    """
    path = store.trace_path(job, table)
    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise BenchError(
            f"{path} is corrupt ({error}): delete the file and run the job again"
        ) from None


def _searcher(record: JobRecord) -> str:
    return str(settings_of(record.recipe).get("searcher.name", UNIFORM))


def _quantizer(record: JobRecord) -> str:
    return key_of(without(settings_of(record.recipe), SEARCH))


def _by_method(records: Iterable[JobRecord]) -> ByMethod:
    groups: dict[str, list[JobRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.method, record.seed)):
        groups[record.method].append(record)
    return dict(groups)
