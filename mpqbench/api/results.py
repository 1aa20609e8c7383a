"""Tables and figures of the records of finished jobs. Nothing is run, and torch is not imported."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import BenchError, unknown
from ..core.files import expanded
from ..core.settings import validate
from ..records.runs import Runs, read_runs
from ..records.selection import Selection

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..lab.status import RunStatus
    from ..report.table import Table

KINDS = ("frame", "markdown", "latex", "html", "csv")
_NEEDED = ("folder", "job")  # columns by which records are found again


def load_records(*folders: Path | str) -> "pd.DataFrame":
    """Return the records of one or several runs, a row for each job, sorted by the job's name.

    docs/python.md says what each column means; ``folder`` is where the files of the job are. What a
    record lacks is missing. Raises BenchError for a folder without records, a file that cannot be
    read, and a job whose results in two folders differ.

    Examples:
        >>> frame = load_records("leaderboards/quick")
        >>> frame.loc[frame["budget"] == "W4A4", ["method", "n_images", "bytes"]].values.tolist()
        [['rtn', 1000, 2631744]]
    """
    from ..records.frame import records_frame

    runs = read_runs(folders)
    frame = records_frame(runs.records)
    frame.insert(0, "folder", [str(runs.store(job).folder) for job in frame["job"]])
    return frame


def status(folder: Path | str) -> "RunStatus":
    """Return which jobs of the run in ``folder`` are done, running, failed and left.

    The jobs are those of the command that was last started on the folder. Raises BenchError where
    none was.

    Examples:
        >>> status("runs/quick").counts                         # doctest: +SKIP
        {'done': 12, 'running': 2, 'left': 6}
    """
    from ..lab.status import status_of

    return status_of(expanded(folder))


def table(
    records: "pd.DataFrame | Path | str", kind: str = "frame", *, name: str = "leaderboard",
    title: str = "", **selection: Any,
) -> Any:  # fmt: skip
    """Return the leaderboard of records: ranks, and differences to full precision with intervals.

    ``records`` are rows of ``load_records``, all or some, or the folder of a run. ``kind`` is
    ``frame`` for a DataFrame with a row for each method, budget, format and seed, or ``markdown``,
    ``latex``, ``html`` or ``csv`` for a text. With ``name="summary"`` the rows are means over
    seeds. ``selection`` has the fields of ``mpqbench.records.selection.Selection``:
    ``methods``, ``budgets``, ``labels``, ... Raises BenchError for an unknown kind, name or field,
    and for a selection that nothing has.

    Examples:
        >>> rows = table("leaderboards/quick", budgets=["W4A8", "W4A4"])
        >>> rows[["method", "budget", "fd_delta"]].round(2).values.tolist()[1:]
        [['rtn', 'W4A8', 0.02], ['rtn', 'W4A4', 0.22]]
        >>> print(table("leaderboards/quick", "csv").splitlines()[0][:26])
        model,method,budget,format
    """
    from ..report.write import tables_of_runs

    if kind not in KINDS:
        raise unknown("kind of table", kind, KINDS)
    runs, selected = _runs(records), validate(Selection, selection, "table")
    tables = tables_of_runs(runs, selected)
    if name == "summary" and name not in tables:
        raise BenchError("these records have one seed: a summary needs several")
    if name not in tables:
        raise unknown("table", name, ("leaderboard", "summary"))
    title = title or f"{name.capitalize()} of {runs.name}"
    return _rendered(tables[name], kind, title, selected)


def figures(
    name: str, records: "pd.DataFrame | Path | str", **selection: Any
) -> "dict[str, Figure]":
    """Return all figures called ``name`` that the records and the files beside them allow.

    ``name`` is one of ``mpqbench.report.figures.FIGURES``: tradeoff, samples, allocations, ...;
    ``records`` and ``selection`` are as in ``table``. Keys are the names of files that ``mpqbench
    report`` writes. Raises BenchError for an unknown name or field.

    Examples:
        >>> list(figures("tradeoff", "leaderboards/quick"))
        ['fd-bitops-fashion-dit', 'fd-bitops_linear-fashion-dit']
    """
    from ..report.figures import draw
    from ..report.write import tables_of_runs

    runs, selected = _runs(records), validate(Selection, selection, "figure")
    board = tables_of_runs(runs, selected)["leaderboard"]
    return dict(draw(name, board, runs, selected))


def figure(
    name: str, records: "pd.DataFrame | Path | str", *, part: str | None = None, **selection: Any
) -> "Figure":
    """Return the one matplotlib Figure called ``name``; ``part`` chooses among several.

    Raises BenchError as ``figures``, where there is none, and where ``part`` is needed.

    Examples:
        >>> drawn = figure("tradeoff", "leaderboards/quick", costs=["bitops"])
        >>> len(drawn.axes) > 0
        True
    """
    found = figures(name, records, **selection)
    if not found:
        raise BenchError(f"these records and the files beside them allow no figure '{name}'")
    if part is None and len(found) > 1:
        raise BenchError(f"figure '{name}' has several parts: choose part='{next(iter(found))}'")
    if part is not None and part not in found:
        raise unknown(f"part of figure '{name}'", part, found)
    return found[part or next(iter(found))]


def _runs(records: "pd.DataFrame | Path | str") -> Runs:
    """Return the records of a folder, or those that a frame of ``load_records`` names."""
    if isinstance(records, Path | str):
        return read_runs([records])
    missing = [name for name in _NEEDED if name not in records]
    if missing:
        raise BenchError(f"the frame has no column '{missing[0]}': give rows of load_records")
    if not len(records):
        raise BenchError("the frame has no rows: give rows of load_records")
    runs, kept = read_runs(dict.fromkeys(records["folder"])), set(records["job"])
    return runs.with_records(record for record in runs.records if record.job in kept)


def _rendered(board: "Table", kind: str, title: str, selection: Selection) -> Any:
    from ..report import render
    from ..report.html import to_html
    from ..report.latex import to_latex

    if kind == "frame":
        return board.frame
    if kind == "csv":
        return render.to_csv(board, selection)
    if kind == "markdown":
        return render.to_markdown(board, title, selection)
    return (to_latex if kind == "latex" else to_html)(board, title, selection)
