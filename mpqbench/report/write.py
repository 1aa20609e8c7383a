"""All tables and figures of a run's records, written beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import BenchError
from ..core.files import write_atomic
from ..records.store import RecordStore
from .render import to_csv, to_markdown
from .table import Table, has_several_seeds, leaderboard, summary


def write_report(
    run_dir: Path | str,
    out: Path | str | None = None,
    merges: Sequence[str] = (),
    scans: Sequence[str] = (),
) -> list[Path]:
    """Write all tables and figures of a run into ``out`` (default: the run's folder).

    They are ``leaderboard`` and, with several seeds, ``summary`` as ``.csv`` and ``.md``, and
    ``figures/``. ``merges`` ("JOB:NODE") and ``scans`` (dotted settings) ask for further figures of
    a search. Returns the paths. Raises BenchError if the run has no records, if a file is
    unreadable, and if what is asked for is not there.
    """
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
    table = leaderboard(records)
    tables = {"leaderboard": (table, f"Leaderboard of {name}")}
    if has_several_seeds(records):
        tables["summary"] = (summary(records), f"{name}: mean over seeds")
    paths = []
    for stem, (own, title) in tables.items():
        for kind, text in (("csv", to_csv(own)), ("md", to_markdown(own, title))):
            paths.append(folder / f"{stem}.{kind}")
            write_atomic(paths[-1], text.encode())
    figures = folder / "figures"
    paths += _write_figures(table, store, figures)
    paths += write_tuning_figures(table, store, figures)
    return paths + write_search_figures(table, store, figures / "search", merges, scans)


def _write_figures(table: Table, store: RecordStore, folder: Path) -> list[Path]:
    """Write ``fd-bitops-BLOCK`` and ``samples-BLOCK`` of every block; return the paths.

    A block without a quantized job that is done has no figure; one without kept images no grid.
    """
    from .drawing import save
    from .samples import sample_grid, sample_rows
    from .tradeoff import tradeoff

    paths: list[Path] = []
    for block in table.blocks:
        figure = tradeoff(block)
        if figure is not None:
            paths += save(figure, folder / f"fd-bitops-{block.name}")
        pages = sample_rows(block, store.has_samples)
        for i, rows in enumerate(pages, 1):
            page = f"-{i}" if len(pages) > 1 else ""
            grid = sample_grid(block, rows, store.read_samples)
            paths += save(grid, folder / f"samples-{block.name}{page}")
    return paths
