"""All tables and figures of runs, written into one folder."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from matplotlib.figure import Figure

from ..records.runs import Runs, read_runs
from ..records.selection import Selection
from .drawing import save_all
from .figures import OF_RECORDS, asked_merges, asked_scans, draw
from .render import write_table
from .table import Table, tables_of

EVERYTHING = Selection.model_validate({})


def write_report(folders: Iterable[Path | str], out: Path | str | None = None) -> list[Path]:
    """Write all tables and figures of runs into ``out`` (default: the first folder).

    Returns the paths. Raises BenchError as ``read_runs``.
    """
    runs = read_runs(folders)
    return write_tables(tables_of_runs(runs), runs, Path(out or runs.folders[0]))


def tables_of_runs(runs: Runs, selection: Selection = EVERYTHING) -> dict[str, Table]:
    """Return the tables of the selected records. Raises BenchError as ``Selection.of``."""
    selected = runs if selection == EVERYTHING else selection.of(runs)
    return tables_of(selected.records, runs.left_out)


def write_tables(
    tables: dict[str, Table],
    runs: Runs,
    folder: Path,
    *,
    selection: Selection = EVERYTHING,
    merges: Sequence[str] = (),
    scans: Sequence[str] = (),
) -> list[Path]:
    """Write ``tables`` and all figures of ``runs``; return the paths.

    ``merges`` ("JOB:NODE") and ``scans`` (dotted settings) ask for further figures of a search.
    Raises BenchError if what is asked for is not there.
    """
    name, table = runs.name, tables["leaderboard"]
    titles = {"leaderboard": f"Leaderboard of {name}", "summary": f"{name}: mean over seeds"}
    asked = [*asked_merges(table, runs, merges), *asked_scans(table, scans)]
    paths = [p for stem, t in tables.items() for p in write_table(t, folder / stem, titles[stem])]
    return paths + save_all(chain(_all(table, runs, selection, scans), asked), folder / "figures")


def _all(
    table: Table, runs: Runs, selection: Selection, scans: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    for name in OF_RECORDS:
        for stem, figure in draw(name, table, runs, selection):
            if not any(stem.startswith(f"search/scan-{path}-") for path in scans):
                yield stem, figure
