"""A factorial ablation from its plan to its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.settings import validate
from ...core.suite import Job, Suite
from ...job.resources import Session
from ...records.schema import JobRecord
from ...records.store import RecordStore
from ...report.ablation import cell_table, effect_sections
from ...report.latex import latex_table
from ...report.render import to_csv, to_markdown
from ...report.table import Table, budget_order
from ...report.write import write_report
from ..suite import check_jobs, run_suite
from ..suite import plan as plan_jobs
from .design import Design
from .plan import Cell, Plan, recipes_of
from .responses import Scale, cell_means, effects_table

Jobs = Sequence[tuple[RecordStore, list[Job]]]


def suite_of(cells: Sequence[Cell], given: Mapping[str, Any]) -> Suite:
    """The suite that runs ``cells``, which change the same fields of the protocol.

    ``given`` has the other keys of a suite, ``protocol`` with all its fields. Raises BenchError.
    """
    methods = tuple(recipe.model_dump(mode="json") for recipe in recipes_of(cells))
    protocol = {**given["protocol"], **cells[0].protocol}
    return validate(Suite, {**given, "methods": methods, "protocol": protocol}, "ablation")


def jobs_of(cells: Sequence[Cell], given: Mapping[str, Any], session: Session) -> Jobs:
    """All jobs, with the store of each list of them: cells of one protocol share one.

    Cells that change the protocol have a folder each, named like the cell, because their
    full-precision jobs differ too. Raises BenchError where two cells have one name.
    """
    for at, cell in enumerate(cells):
        if cell.name in [other.name for other in cells[:at]]:
            raise BenchError(f"two cells are called '{cell.name}': run them one by one")
    return [
        (store, plan_jobs(suite_of(own, given), session.registry, session.device))
        for store, own in stores_of(cells, session.store.folder)
    ]


def stores_of(cells: Sequence[Cell], folder: Path) -> list[tuple[RecordStore, list[Cell]]]:
    """Which cells have their records where: those of one protocol share a store."""
    plain = [cell for cell in cells if not cell.protocol]
    parts = [(RecordStore(folder), plain)] if plain else []
    return parts + [(RecordStore(folder / c.name), [c]) for c in cells if c.protocol]


def run_jobs(design: Design, jobs: Jobs, session: Session) -> tuple[Path, list[list[JobRecord]]]:
    """Keeps the design, once it is known that its jobs can run, and runs what is not done yet.

    Returns the design's path, and the records of every list of jobs.
    """
    check_jobs([job for _, own in jobs for job in own], session.resources)
    kept = design.save(session.store.folder)
    return kept, [run_suite(own, replace(session, store=store)) for store, own in jobs]


def run_plan(
    design: Design, plan: Plan, given: Mapping[str, Any], session: Session
) -> tuple[list[Path], bool]:
    """Runs every cell of a design's plan; keeps the design, and writes what ``write_plan`` does and
    the usual report.

    Returns the paths, and whether a job failed. Raises BenchError where its scale cannot be used.
    """
    folder = session.store.folder
    kept, batches = run_jobs(design, jobs_of(plan.cells, given, session), session)
    paths = write_plan(plan, batches, folder, design.scale) + write_report(folder)
    return [kept, *paths], has_failed([record for batch in batches for record in batch])


def write_plan(
    plan: Plan, batches: Sequence[Sequence[JobRecord]], folder: Path, scale: Scale
) -> list[Path]:
    """Writes ``ablation.*``, ``effects.csv`` and figures of the records in ``batches``.

    Raises BenchError where ``scale`` cannot be used.
    """
    from ...report.ablation_figures import write_effect_figures

    batches = [sorted(batch, key=budget_order) for batch in batches]
    records = [record for batch in batches for record in batch]
    rows = [(dict(zip(plan.levels, c.levels, strict=True)), c.recipe.name) for c in plan.cells]
    table = cell_table(rows, batches)
    effects = effects_table(plan, records, scale)
    title = f"Ablation of {plan.method.name}"
    ticks = {factor: plan.base[factor] for factor, own in plan.levels.items() if len(own) == 2}
    text = f"{to_markdown(table, title)}\n{effect_sections(effects, table.blocks[0].extractor)}"
    paths = write_cells(folder, table, text, latex_table(table, title, ticks))
    paths.append(folder / "effects.csv")
    content = effects.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    write_atomic(paths[-1], content.encode())
    return paths + write_effect_figures(
        effects,
        plan.levels,
        cell_means(plan, records, scale),
        table.blocks[0].extractor,
        folder / "figures" / "ablation",
    )


def write_cells(folder: Path, table: Table, markdown: str, latex: str) -> list[Path]:
    """Writes ``ablation.csv``, ``.md`` and ``.tex``."""
    paths = []
    for kind, text in (("csv", to_csv(table)), ("md", markdown), ("tex", latex)):
        paths.append(folder / f"ablation.{kind}")
        write_atomic(paths[-1], text.encode())
    return paths


def has_failed(records: Sequence[JobRecord]) -> bool:
    """Whether a job failed: a diverged or infeasible one is a result."""
    return any(record.status == "failed" for record in records)
