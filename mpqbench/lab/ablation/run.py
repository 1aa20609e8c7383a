"""An ablation from its design to its records, and what is concluded from them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.precision import Budget
from ...core.recipe import TEXTS, Recipe
from ...core.registry import Registry
from ...core.settings import validate
from ...core.suite import Job, Suite
from ...job.resources import Session
from ...records.ablation import AblationResult
from ...records.frame import frame_csv
from ...records.schema import FULL_METHOD, JobRecord
from ...records.store import RecordStore
from ..suite import check_jobs, run_suite
from ..suite import plan as plan_jobs
from .design import FILE, Design, default_factors, factors_from
from .effects import cell_means, effects_table
from .plan import AblationCell, FactorialPlan, Sweep, factorial, sweep, sweep_cells

_RESULT = {*TEXTS} - {"name"}  # fields of a recipe that change no result, but for its name


@dataclass(frozen=True)
class PlannedAblation:
    """A design with its ``plan`` if it is a factorial, or its ``sweeps``."""

    design: Design
    plan: FactorialPlan | None
    sweeps: Sequence[Sweep]

    @classmethod
    def of(cls, design: Design, registry: Registry) -> Self:
        """Plan a design. Raises BenchError for plugins, parameters and factors that are wrong."""
        method, factors = design.method, design.factors
        factors = factors_from(factors, "factors") if factors else {}
        if design.sweeps:
            return cls(design, None, [sweep(t, method, registry, factors) for t in design.sweeps])
        factors = factors or default_factors(method)
        return cls(design, factorial(method, factors, registry, full=design.full), [])

    @property
    def cells(self) -> Sequence[AblationCell]:
        """Every cell once."""
        return sweep_cells(self.sweeps) if self.plan is None else self.plan.cells

    def run(self, given: Mapping[str, Any], session: Session) -> tuple[Path, AblationResult]:
        """Save the design, once its jobs are known to be able to run, and run what is not done.

        ``given`` has the keys of a suite but its methods. Returns the design's path and the result.
        Raises BenchError for a suite that is not valid, and as ``conclude`` does.
        """
        parts = jobs_of(self.cells, given, session)
        check_jobs([job for _, jobs in parts for job in jobs], session.resources)
        kept = self.design.save(session.store.folder)
        batches = [run_suite(jobs, replace(session, store=store)) for store, jobs in parts]
        return kept, self.conclude(batches)

    def conclude(self, batches: Sequence[Sequence[JobRecord]]) -> AblationResult:
        """Return what the records of each protocol say. Raises as ``effects_table``."""
        name = self.design.method.name
        batches = [sorted(batch, key=_budget_order) for batch in batches]
        if self.plan is None:
            rows = [row for sweep in self.sweeps for row in sweep.rows]
            cells = pd.DataFrame(rows).drop(columns="", errors="ignore")  # there is no factor
            return AblationResult(name, cells, batches)
        plan, scale = self.plan, self.design.scale
        cells = pd.DataFrame([cell.levels for cell in plan.cells], columns=list(plan.levels))
        cells["method"] = [cell.recipe.name for cell in plan.cells]
        records = [record for batch in batches for record in batch]
        effects, means = effects_table(plan, records, scale), cell_means(plan, records, scale)
        return AblationResult(name, cells, batches, effects, plan.levels, plan.base, means)


def read_ablation(
    design: Design, folder: Path, registry: Registry
) -> tuple[AblationResult, list[RecordStore]]:
    """Return the result of the records in ``folder`` without running anything, and their stores.

    Records of seeds and budgets that were run apart and copied together are included. Raises
    BenchError if no cell has a record, if a record has another recipe or protocol than its
    neighbours, and for plugins that are not known.
    """
    try:
        planned = PlannedAblation.of(design, registry)
    except BenchError as error:
        raise BenchError(f"{folder / FILE}: {error} (plugins from files: --plugins)") from None
    read = [(s, _records_of(cells, s)) for s, cells in stores_of(planned.cells, folder)]
    read = [(store, batch) for store, batch in read if batch]
    if all(record.is_full_precision for _, batch in read for record in batch):
        raise BenchError(f"{folder} has no record of any cell of its ablation: run it first")
    return planned.conclude([batch for _, batch in read]), [store for store, _ in read]


def write_effects(result: AblationResult, folder: Path) -> list[Path]:
    """Write ``effects.csv`` of a factorial; return its path. Sweeps have none."""
    if result.effects is None:
        return []
    path = folder / "effects.csv"
    write_atomic(path, frame_csv(result.effects).encode())
    return [path]


def jobs_of(
    cells: Sequence[AblationCell], given: Mapping[str, Any], session: Session
) -> list[tuple[RecordStore, list[Job]]]:
    """Return all jobs, with the store of each list of them.

    ``given`` has the keys of a suite but its methods, ``protocol`` with all its fields. Cells that
    change the protocol have a folder each, named like the cell, because their full-precision jobs
    differ too. Raises BenchError if two cells have one name.
    """
    for name, count in Counter(cell.name for cell in cells).items():
        if count > 1:
            raise BenchError(f"two cells are called '{name}': run them one by one")
    jobs = []
    for store, alike in stores_of(cells, session.store.folder):
        recipes = {cell.recipe.name: cell.recipe.model_dump(mode="json") for cell in alike}
        methods, protocol = tuple(recipes.values()), {**given["protocol"], **alike[0].protocol}
        suite = validate(Suite, {**given, "methods": methods, "protocol": protocol}, "ablation")
        jobs.append((store, plan_jobs(suite, session.registry, session.device)))
    return jobs


def stores_of(
    cells: Sequence[AblationCell], folder: Path
) -> list[tuple[RecordStore, list[AblationCell]]]:
    """Return the cells of every store: cells of one protocol share one."""
    plain = [cell for cell in cells if not cell.protocol]
    parts = [(RecordStore(folder), plain)] if plain else []
    return parts + [(RecordStore(folder / c.name), [c]) for c in cells if c.protocol]


def _budget_order(record: JobRecord) -> tuple[bool, int, str]:
    """Sort full precision first, then budgets of many bits before those of few."""
    bits = Budget.parse(record.budget).precision
    return not record.is_full_precision, -bits.weight_bits * bits.activation_bits, record.budget


def _records_of(cells: Sequence[AblationCell], store: RecordStore) -> list[JobRecord]:
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
        planned, known = recipes.get(record.method), Recipe.model_validate(record.recipe)
        if planned and planned.model_dump(exclude=_RESULT) != known.model_dump(exclude=_RESULT):
            raise BenchError(
                f"{path} has another recipe than {FILE} gives '{record.method}': it was measured "
                "before that was changed; run the ablation again, or remove it"
            )
    return found
