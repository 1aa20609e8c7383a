"""All tables and figures of runs, written into one folder."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from matplotlib.figure import Figure

from ..core.errors import BenchError
from ..records.paper_file import PaperFile
from ..records.runs import Runs, read_runs
from ..records.selection import EVERYTHING, Selection
from .drawing import save_all
from .figures import OF_RECORDS, asked_merges, asked_scans, draw
from .latex import to_latex
from .render import to_csv, to_markdown, write_texts
from .table import Table, tables_of


def write_report(folders: Iterable[Path | str], out: Path | str | None = None) -> list[Path]:
    """Write all tables and figures of runs into ``out`` (default: the first folder).

    Returns the paths. Raises BenchError as ``read_runs``.
    """
    runs = read_runs(folders)
    return write_tables(tables_of_runs(runs), runs, Path(out or runs.folders[0]))


def tables_of_runs(runs: Runs, selection: Selection = EVERYTHING) -> dict[str, Table]:
    """Return the tables of the selected records. Raises BenchError as ``Selection.of``."""
    selected = runs if selection == EVERYTHING else selection.of(runs)
    return tables_of(selected.records, runs.left_out, selection.highlight)


def title_of(stem: str, runs: Runs) -> str:
    """Return the title of the leaderboard or of the summary of ``runs``."""
    return (
        f"Leaderboard of {runs.name}" if stem == "leaderboard" else f"{runs.name}: mean over seeds"
    )


def main_table(tables: Mapping[str, Table], selection: Selection = EVERYTHING) -> str:
    """Return the name of the table that a paper shows: that of means where there are several seeds.

    Raises BenchError for a selected column that it does not have.
    """
    stem = "summary" if "summary" in tables else "leaderboard"
    known = {column.name for column in tables[stem].columns}
    if lacking := next((name for name in selection.columns if name not in known), None):
        kind = "of means over seeds" if stem == "summary" else "of one seed"
        raise BenchError(f"a table {kind} has no column '{lacking}': leave it out")
    return stem


def paper_tables(paper: PaperFile, runs: Runs) -> dict[str, dict[str, str]]:
    """Return the texts of the tables that the file of a paper names, by name and ending.

    Where the records have several seeds a table is of means over them. Raises BenchError, with the
    name of the table, where a name of its selection is in no record.
    """
    texts = {}
    for name, selection in paper.tables.items():
        try:
            found = tables_of_runs(runs, selection)
            stem = main_table(found, selection)
            texts[name] = _texts(found[stem], title_of(stem, runs), selection, name)
        except BenchError as error:
            raise BenchError(f"table '{name}': {error}") from None
    return texts


def _texts(table: Table, title: str, selection: Selection, label: str) -> dict[str, str]:
    return {
        "csv": to_csv(table, selection),
        "md": to_markdown(table, title, selection),
        "tex": to_latex(table, title, selection, label),
    }


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
    table = tables["leaderboard"]
    asked = [*asked_merges(table, runs, merges), *asked_scans(table, scans)]
    every = {
        stem: _texts(each, title_of(stem, runs), selection, stem) for stem, each in tables.items()
    }
    paths = [path for stem, texts in every.items() for path in write_texts(folder / stem, texts)]
    return paths + save_all(chain(_all(table, runs, selection, scans), asked), folder / "figures")


def _all(
    table: Table, runs: Runs, selection: Selection, scans: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    for name in OF_RECORDS:
        for stem, figure in draw(name, table, runs, selection):
            if not any(stem.startswith(f"search/scan-{path}-") for path in scans):
                yield stem, figure
