"""Everything that can be read off a run's records, written beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import BenchError
from ..core.files import write_atomic
from ..records.store import RecordStore
from .render import to_csv, to_markdown
from .summary import has_several_seeds, summary
from .table import leaderboard


def write_report(
    run_dir: Path | str,
    out: Path | str | None = None,
    merges: Sequence[str] = (),
    scans: Sequence[str] = (),
) -> list[Path]:
    """Writes ``leaderboard.csv``, ``leaderboard.md``, with several seeds ``summary.csv`` and
    ``summary.md``, ``figures/*.png`` and ``*.pdf`` (of tuned jobs the course of training too), and
    with searches the same in ``figures/search/``, into ``out`` (default: the run's folder).

    ``merges`` ("JOB:NODE") and ``scans`` (dotted settings) ask for figures of a search besides.
    Returns the paths in that order. Raises BenchError where the run has no records, where one of
    its files is unreadable, and where what is asked for is not there.
    """
    from .figures import block_names, write_figures
    from .search.write import write_search_figures
    from .tuning import write_tuning_figures

    run_dir = Path(run_dir)
    folder = run_dir if out is None else Path(out)
    store = RecordStore(run_dir)
    records = store.read_all()
    if not records:
        raise BenchError(
            f"{run_dir} has no records: give the folder of a run, the one that holds records/"
        )
    name = run_dir.resolve().name
    tables = {"leaderboard": (leaderboard(records), f"Leaderboard of {name}")}
    if has_several_seeds(records):
        tables["summary"] = (summary(records), f"{name}: mean over seeds")
    paths = []
    for stem, (table, title) in tables.items():
        for kind, text in (("csv", to_csv(table)), ("md", to_markdown(table, title))):
            path = folder / f"{stem}.{kind}"
            write_atomic(path, text.encode())
            paths.append(path)
    table = tables["leaderboard"][0]
    figures = folder / "figures"
    paths += write_figures(table, figures, store.read_samples, store.has_samples)
    names = block_names(table)
    paths += write_tuning_figures(store, records, table, names, figures)
    return paths + write_search_figures(
        store, records, table, names, figures / "search", merges, scans
    )
