"""The tables and figures of an ablation from its records, without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import BenchError
from ...core.recipe import TEXTS, Recipe
from ...core.registry import Registry
from ...records.schema import FULL_METHOD, JobRecord
from ...records.store import RecordStore
from .design import FILE, Design
from .plan import Cell, Plan
from .run import stores_of, write_plan
from .sweep_plan import Sweep
from .sweeps import cells_of, write_sweeps

_RESULT = {*TEXTS} - {"name"}  # of a recipe, but what it is told by


@dataclass(frozen=True)
class Results:
    """An ablation and the records that there are of it: of a factorial its ``plan``, or its
    ``sweeps``.

    ``batches`` are the records of each store in ``stores``, those of seeds and budgets that were
    asked for apart, or copied together, included.
    """

    design: Design
    plan: Plan | None
    sweeps: Sequence[Sweep]
    stores: Sequence[RecordStore]
    batches: Sequence[Sequence[JobRecord]]

    @classmethod
    def of(cls, design: Design, folder: Path, registry: Registry) -> Results:
        """Raises BenchError where none of its cells has a record, where a record is of another
        recipe or protocol than those beside it, and for plugins that are none."""
        try:
            sweeps = design.swept(registry) if design.sweeps else []
            plan = None if sweeps else design.plan(registry)
        except BenchError as error:
            place = folder / FILE
            raise BenchError(f"{place}: {error} (plugins from files: --plugins)") from None
        cells = cells_of(sweeps) if plan is None else plan.cells
        stores, batches = [], []
        for store, own in stores_of(cells, folder):
            batch = _records_of(own, store)
            if batch:
                stores.append(store)
                batches.append(batch)
        if all(record.is_full_precision for batch in batches for record in batch):
            raise BenchError(f"{folder} has no record of any cell of its ablation: run it first")
        return cls(design, plan, sweeps, stores, batches)

    def write(self, out: Path) -> list[Path]:
        """Writes into ``out`` what the ablation itself writes, but the usual report.

        Returns the paths. Raises BenchError where the design's scale cannot be used.
        """
        if self.plan is None:
            return write_sweeps(self.sweeps, self.batches, out)
        return write_plan(self.plan, self.batches, out, self.design.scale)


def _records_of(cells: Sequence[Cell], store: RecordStore) -> list[JobRecord]:
    recipes = {cell.recipe.name: cell.recipe for cell in cells}
    names = {FULL_METHOD, *recipes}
    found = [record for record in store.read_all() if record.method in names]
    for record in found:
        path, first = store.record_path(record.job), found[0]
        if (record.model, record.protocol) != (first.model, first.protocol):
            other = store.record_path(first.job).name
            raise BenchError(
                f"{path} has another model or protocol than {other}: an ablation compares jobs of "
                "one, so move the others to a folder of their own"
            )
        own = recipes.get(record.method)
        if own is not None and not _same(Recipe.model_validate(record.recipe), own):
            raise BenchError(
                f"{path} has another recipe than {FILE} gives '{record.method}': it was measured "
                "before that was changed; run the ablation again, or remove it"
            )
    return found


def _same(one: Recipe, other: Recipe) -> bool:
    return one.model_dump(exclude=_RESULT) == other.model_dump(exclude=_RESULT)
