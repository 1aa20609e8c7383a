"""Sweeps: one number of a recipe or of the protocol, run and drawn against the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..records.schema import JobRecord
from ..report.ablation import cell_table
from ..report.figures import block_names
from ..report.latex import latex_table
from ..report.render import to_markdown
from ..report.style import save
from ..report.table import Table
from ..report.write import write_report
from ..study.jobs import Session
from .plan import Sweep
from .run import has_failed, jobs_of, run_jobs, write_cells


def run_sweeps(
    sweeps: Sequence[Sweep], given: Mapping[str, Any], session: Session
) -> tuple[list[Path], bool]:
    """Runs every value of every sweep; writes ``ablation.*``, a figure for each sweep and budget,
    and the usual report of every folder.

    Returns the paths, and whether a job failed. What is done is not done again.
    """
    cells = [cell for sweep in sweeps for cell in sweep.cells.values()]
    jobs = jobs_of(cells, given, session)
    batches = run_jobs(jobs, session)
    rows = [
        ({"setting": sweep.path, "value": cell.levels[0]}, cell.recipe.name)
        for sweep in sweeps
        for cell in sweep.cells.values()
    ]
    table = cell_table(rows, batches)
    title = f"Sweeps of {sweeps[0].method.name}"
    folder = session.store.folder
    paths = write_cells(folder, table, to_markdown(table, title), latex_table(table, title))
    records = [record for batch in batches for record in batch]
    paths += write_sweep_figures(sweeps, records, table, folder / "figures" / "ablation")
    paths += [path for store, _ in jobs for path in write_report(store.folder)]
    return paths, has_failed(records)


def write_sweep_figures(
    sweeps: Sequence[Sweep], records: Sequence[JobRecord], table: Table, folder: Path
) -> list[Path]:
    """Writes ``scan-PATH-MODEL-BUDGET`` of every sweep and budget with two values that are done."""
    from ..report.search.runs import Contest
    from ..report.search.scan import METRICS, scan
    from ..report.search.scan_data import Family

    done = [r for r in records if r.status == "done" and METRICS & r.scores.keys()]
    extractor = next((r.extractor for r in done), None)
    name = block_names(Table(table.blocks[:1], table.columns))[0]
    paths: list[Path] = []
    for sweep in sweeps:
        fixed = {"searcher.name": sweep.method.name}  # what a scan calls its only line
        for budget in dict.fromkeys(r.budget for r in records if not r.is_full_precision):
            found = {
                value: [r for r in done if (r.method, r.budget) == (cell.recipe.name, budget)]
                for value, cell in sorted(sweep.cells.items())
            }
            found = {value: own for value, own in found.items() if own}
            if len(found) > 1:
                place = f"{name}-{budget}"
                contest = Contest(place, records[0].model, budget, extractor, {}, {})
                figure = scan(contest, [Family(sweep.path, fixed, found)])
                paths += save(figure, folder / f"scan-{sweep.path}-{place}")
    return paths
