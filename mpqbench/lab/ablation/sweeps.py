"""Sweeps: one number of a recipe or of the protocol, run and drawn against the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...job.resources import Session
from ...records.schema import FULL_METHOD, JobRecord
from ...report.ablation import cell_table
from ...report.figures import block_names
from ...report.latex import latex_table
from ...report.render import to_markdown
from ...report.style import save
from ...report.table import Table, budget_order
from ...report.write import write_report
from .design import Design
from .plan import Cell
from .run import has_failed, jobs_of, run_jobs, write_cells
from .sweep_plan import Sweep

if TYPE_CHECKING:
    from ...report.search.scan_data import SweepSeries


def cells_of(sweeps: Sequence[Sweep]) -> list[Cell]:
    """All cells; that of a level which has neither of two swept numbers is in both, here once."""
    found: list[Cell] = []
    for sweep in sweeps:
        known = [cell.name for cell in found]
        shared = {cell.name for cell in sweep.without.values()}
        found += [c for c in sweep.cells if c.name not in shared or c.name not in known]
    return found


def run_sweeps(
    design: Design, sweeps: Sequence[Sweep], given: Mapping[str, Any], session: Session
) -> tuple[list[Path], bool]:
    """Runs every value of a design's sweeps; keeps the design, and writes ``ablation.*``, a figure
    for each sweep and budget, and the usual report of every folder.

    Returns the paths, and whether a job failed. What is done is not done again.
    """
    jobs = jobs_of(cells_of(sweeps), given, session)
    kept, batches = run_jobs(design, jobs, session)
    paths = write_sweeps(sweeps, batches, session.store.folder)
    paths += [path for store, _ in jobs for path in write_report(store.folder)]
    return [kept, *paths], has_failed([record for batch in batches for record in batch])


def write_sweeps(
    sweeps: Sequence[Sweep], batches: Sequence[Sequence[JobRecord]], folder: Path
) -> list[Path]:
    """Writes ``ablation.*`` and figures of the records in ``batches``."""
    batches = [sorted(batch, key=budget_order) for batch in batches]
    table = cell_table([row for sweep in sweeps for row in sweep.rows], batches)
    title = f"Sweeps of {sweeps[0].method.name}"
    paths = write_cells(folder, table, to_markdown(table, title), latex_table(table, title))
    records = [record for batch in batches for record in batch]
    return paths + write_sweep_figures(sweeps, records, table, folder / "figures" / "ablation")


def write_sweep_figures(
    sweeps: Sequence[Sweep], records: Sequence[JobRecord], table: Table, folder: Path
) -> list[Path]:
    """Writes ``scan-PATH-MODEL-BUDGET`` of every sweep and budget with two values that are done.

    Levels without the number are level lines, and full precision where all share a protocol.
    """
    from ...report.search.runs import SearchComparison
    from ...report.search.scan import METRICS, scan
    from ...report.search.scan_data import SweepSeries

    done = [r for r in records if r.status == "done" and METRICS & r.scores.keys()]
    extractor = next((r.extractor for r in done), None)
    name = block_names(Table(table.blocks[:1], table.columns))[0]
    paths: list[Path] = []
    for sweep in sweeps:
        for budget in dict.fromkeys(r.budget for r in records if not r.is_full_precision):
            own = [r for r in done if r.budget == budget]
            # A scan tells lines apart by whatever differs between them: here that is their name.
            found = [
                SweepSeries(sweep.path, {"searcher.name": line}, of_line)
                for line, of_line in lines_of(sweep, own).items()
            ]
            if any(len(family.records) > 1 for family in found):
                place = f"{name}-{budget}"
                contest = SearchComparison(place, records[0].model, budget, extractor, {}, {})
                level = _level_lines(
                    sweep, found, [r for r in done if r.is_full_precision or r.budget == budget]
                )
                paths += save(scan(contest, found, level), folder / f"scan-{sweep.path}-{place}")
    return paths


def lines_of(sweep: Sweep, records: Sequence[JobRecord]) -> dict[str, dict[float, list[JobRecord]]]:
    """Records of every line by value, in ascending order."""
    of_method: dict[str, list[JobRecord]] = {}
    for record in records:
        of_method.setdefault(record.method, []).append(record)
    found = {
        line: {
            value: of_method[cell.recipe.name]
            for value, cell in sorted(own.items())
            if cell.recipe.name in of_method
        }
        for line, own in sweep.lines.items()
    }
    return {line: own for line, own in found.items() if own}


def _level_lines(
    sweep: Sweep, found: Sequence[SweepSeries], records: Sequence[JobRecord]
) -> dict[str, list[JobRecord]]:
    """What does not depend on the number, by label: levels without it, and full precision unless
    the points of ``found`` have protocols of their own."""
    names = {cell.recipe.name: line for line, cell in sweep.without.items()}
    level: dict[str, list[JobRecord]] = {}
    for record in records:
        if record.method in names:
            level.setdefault(names[record.method], []).append(record)
    protocols = [r.protocol for family in found for own in family.records.values() for r in own]
    if all(protocol == protocols[0] for protocol in protocols):
        full = [r for r in records if r.is_full_precision and r.protocol == protocols[0]]
        level |= {FULL_METHOD: full} if full else {}
    return level
