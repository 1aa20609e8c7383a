"""All tables and figures of a run's records, written beside them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..core.errors import BenchError
from ..metrics.images import first_images
from ..records.store import RecordStore
from .drawing import save_all
from .render import write_table
from .samples import sample_grid, sample_rows
from .search.write import write_search_figures
from .table import Table, tables_of
from .tradeoff import tradeoff
from .tuning import tuning_figures


def write_report(
    run_dir: Path | str,
    out: Path | str | None = None,
    merges: Sequence[str] = (),
    scans: Sequence[str] = (),
) -> list[Path]:
    """Write all tables and figures of a run into ``out`` (default: the run's folder).

    ``merges`` ("JOB:NODE") and ``scans`` (dotted settings) ask for further figures of a search.
    Returns the paths. Raises BenchError if the run has no records, if a file is unreadable, and if
    what is asked for is not there.
    """
    run_dir = Path(run_dir)
    folder = run_dir if out is None else Path(out)
    store = RecordStore(run_dir)
    records = store.read_all()
    if not records:
        raise BenchError(
            f"{run_dir} has no records: give the folder of a run, the one that holds records/"
        )
    name = run_dir.resolve().name
    titles = {"leaderboard": f"Leaderboard of {name}", "summary": f"{name}: mean over seeds"}
    tables, figures = tables_of(records), folder / "figures"
    paths: list[Path] = []
    for stem, table in tables.items():
        paths += write_table(table, folder / stem, titles[stem])
    table = tables["leaderboard"]
    paths += save_all(_figures(table, store), figures)
    paths += save_all(tuning_figures(table, store), figures)
    return paths + write_search_figures(table, store, figures / "search", merges, scans)


def _figures(table: Table, store: RecordStore) -> Iterator[tuple[str, Figure]]:
    """Yield ``fd-bitops-BLOCK`` and ``samples-BLOCK`` of every block that has what they show."""

    def read(job: str, count: int) -> np.ndarray:
        return first_images(store.samples_path(job), count)

    for block in table.blocks:
        figure = tradeoff(block)
        if figure is not None:
            yield f"fd-bitops-{block.name}", figure
        pages = sample_rows(block, store.has_samples)
        for i, rows in enumerate(pages, 1):
            page = f"-{i}" if len(pages) > 1 else ""
            yield f"samples-{block.name}{page}", sample_grid(block, rows, read)
