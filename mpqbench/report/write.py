"""All tables and figures of a run's records, written beside them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..core.errors import BenchError, unknown
from ..metrics.images import first_images, first_shards
from ..records.columns import Row
from ..records.frame import rows_of
from ..records.left_out import current
from ..records.settings import key_of, objective_of, settings_of, without
from ..records.store import RecordStore
from .drawing import save_all
from .render import write_table
from .samples import IMAGES, sample_grid, sample_rows
from .search.anytime import anytime
from .search.maps import allocation_maps, mean_table, sensitivity_map, telling_precision
from .search.merges import merge_tree, pareto_drop, telling_nodes
from .search.runs import SearchComparison, comparisons, left_out, read_table
from .search.scan import FEWEST, of_path, scan, sweep_series
from .table import Table, tables_of
from .tradeoff import tradeoff
from .tuning import courses, tuning

Named = Iterator[tuple[str, Figure]]


def write_report(
    run_dir: Path | str, out: Path | str | None = None, **asked: Sequence[str]
) -> list[Path]:
    """Write all tables and figures of a run into ``out`` (default: the run's folder).

    ``merges`` ("JOB:NODE") and ``scans`` (dotted settings) ask for further figures of a search.
    Returns the paths. Raises BenchError if the run has no records, if a file is unreadable, and if
    what is asked for is not there.
    """
    return write_tables(read_tables(run_dir := Path(run_dir)), run_dir, out, **asked)


def read_tables(run_dir: Path) -> dict[str, Table]:
    """Return the tables of a run's current records. Raises BenchError if it has no records."""
    records, left_out = current(RecordStore(run_dir))
    if not records:
        raise BenchError(f"{run_dir} has no records: give the folder of a run, with records/ in it")
    return tables_of(records, left_out)


def write_tables(
    tables: dict[str, Table], run_dir: Path, out: Path | str | None, **asked: Sequence[str]
) -> list[Path]:
    """Write what ``write_report`` does, from the ``tables`` of the run."""
    folder, store = Path(out or run_dir), RecordStore(run_dir)
    name, figures = run_dir.resolve().name, folder / "figures"
    titles = {"leaderboard": f"Leaderboard of {name}", "summary": f"{name}: mean over seeds"}
    paths = [p for stem, t in tables.items() for p in write_table(t, folder / stem, titles[stem])]
    table = tables["leaderboard"]
    paths += save_all(run_figures(table, store), figures)
    return paths + write_search_figures(table, store, figures / "search", **asked)


def run_figures(table: Table, store: RecordStore) -> Named:
    """Yield ``fd-bitops-``, ``samples-`` and ``tuning-BLOCK`` where there is what they show."""

    def read(job: str, count: int) -> np.ndarray:
        return first_images(store.samples_path(job), count)

    def kept(row: Row) -> bool:
        """Return whether the images to be shown are there and whole; warn where they are not."""
        if not store.has_samples(job := str(row["job"])):
            return False
        try:
            for path in first_shards(store.samples_path(job), min(IMAGES, int(row["n_images"]))):
                store.check_file(job, path)
        except BenchError as error:
            left_out(str(error))
            return False
        return True

    for block in table.blocks:
        if (figure := tradeoff(block)) is not None:
            yield f"fd-bitops-{block.name}", figure
        pages = sample_rows(block, kept)
        grids = [sample_grid(block, rows, read) for rows in pages]
        yield from _paged(f"samples-{block.name}", grids)
    for block in table.blocks:
        if found := courses(block, store):
            yield f"tuning-{block.name}", tuning(block.model, found)


def write_search_figures(
    table: Table,
    store: RecordStore,
    folder: Path,
    merges: Sequence[str] = (),
    scans: Sequence[str] = (),
) -> list[Path]:
    """Write what the files of ``store`` allow, and the ``merges`` and ``scans`` asked for.

    ``table`` is the leaderboard. Returns the paths. Raises BenchError if a job, a node or a setting
    is not there.
    """
    found = comparisons(table)
    asked = [*_asked_merges(store, found, merges), *_asked_scans(found, scans)]
    every = (named for comparison in found for named in _figures(comparison, store, scans))
    return [*save_all(every, folder), *save_all(asked, folder)]


def _figures(comparison: SearchComparison, store: RecordStore, asked: Sequence[str]) -> Named:
    yield from _paged(f"anytime-{comparison.name}", anytime(comparison, store))
    yield from _paged(f"allocations-{comparison.name}", allocation_maps(comparison, store))
    yield from _sensitivities(comparison, store)
    for rows in comparison.searches.values():
        yield from _trees(rows_of(rows)[0], store)
    every = sweep_series(comparison.rows, FEWEST)
    for path in dict.fromkeys(series.path for series in every):
        if path not in asked:
            yield f"scan-{path}-{comparison.name}", scan(comparison, of_path(every, path))


def _paged(name: str, figures: Sequence[Figure]) -> Named:
    for number, figure in enumerate(figures, 1):
        yield (f"{name}-{number}" if len(figures) > 1 else name), figure


def _sensitivities(comparison: SearchComparison, store: RecordStore) -> Named:
    """Draw every additive table once: it does not depend on the searcher."""
    drawn = set()
    for method, rows in comparison.searches.items():
        tables = [t for job in rows["job"] if (t := read_table(store, job, "table")) is not None]
        recipe = rows["recipe"].iloc[0]
        key = key_of(without(settings_of(recipe), ("searcher", "evaluations")))
        if not tables or key in drawn:
            continue
        drawn.add(key)
        seeds = f", {len(tables)} seeds" if len(tables) > 1 else ""
        mean = mean_table(tables)
        precision = telling_precision(mean, comparison.budget)
        title = f"{comparison.title}, {method}{seeds}"
        figure = sensitivity_map(mean, precision, title, objective_of(recipe))
        yield f"sensitivity-{comparison.name}-{method}", figure


def _trees(row: Row, store: RecordStore) -> Named:
    job, merges = row["job"], read_table(store, row["job"], "merges")
    if merges is not None:
        yield f"merge-tree-{job}", merge_tree(merges, _title(row))
        if nodes := telling_nodes(merges):
            figure = pareto_drop(merges, nodes, _title(row), objective_of(row["recipe"]))
            yield f"pareto-drop-{job}", figure


def _title(row: Row) -> str:
    return f"{row['model']}, {row['method']}, {row['budget']}, seed {row['seed']}"


def _asked_merges(
    store: RecordStore, found: Sequence[SearchComparison], asked: Sequence[str]
) -> Named:
    searches = {row["job"]: row for comparison in found for row in rows_of(comparison.rows)}
    valid = [job for job in searches if store.trace_path(job, "merges").is_file()] if asked else []
    for text in asked:
        job, _, node = text.rpartition(":")
        if not job or not node.isdigit():
            raise BenchError(f"'{text}' is not JOB:NODE, such as a job of this run with ':7'")
        if not valid:
            raise BenchError("no search of this run left merges: those of searcher 'tss' do")
        if job not in valid:
            raise unknown("job with merges", job, valid)
        row, merges = searches[job], read_table(store, job, "merges")
        if merges is None:  # damaged, which has been told
            continue
        try:
            figure = pareto_drop(merges, [int(node)], _title(row), objective_of(row["recipe"]))
        except BenchError as error:
            raise BenchError(f"job '{job}': {error}") from None
        yield f"pareto-drop-{job}-node{int(node)}", figure


def _asked_scans(found: Sequence[SearchComparison], asked: Sequence[str]) -> Named:
    every = [sweep_series(comparison.rows) for comparison in found]
    for path in dict.fromkeys(asked):
        of_path([series for each in every for series in each], path)
        for comparison, each in zip(found, every, strict=True):
            shown = [series for series in each if series.path == path]
            if shown:
                yield f"scan-{path}-{comparison.name}", scan(comparison, shown)
