"""Every figure of a run's searches, saved as PNG and PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import BenchError, unknown
from ...records.columns import Row
from ...records.frame import rows_of
from ...records.settings import key_of, objective_of, settings_of, without
from ...records.store import RecordStore
from ..drawing import save
from ..table import Table
from .allocation_map import allocation_maps
from .anytime import anytime
from .grids import mean_table, telling_precision
from .merges import merge_tree, pareto_drop, telling_nodes
from .runs import SearchComparison, comparisons, read_table
from .scan import FEWEST, of_path, scan, sweep_series
from .sensitivity_map import sensitivity_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Named = tuple[str, "Figure"]


def write_search_figures(
    table: Table,
    store: RecordStore,
    folder: Path,
    merges: Sequence[str] = (),
    scans: Sequence[str] = (),
) -> list[Path]:
    """Write into ``folder`` what the files of ``store`` allow; return the paths.

    ``table`` is the leaderboard. ``merges`` ("JOB:NODE") and ``scans`` (dotted settings) are drawn
    besides. A run without searches has no figure. Raises BenchError if a job, a node or a setting
    is not there.
    """
    found = comparisons(table)
    asked = [*_asked_merges(store, found, merges), *_asked_scans(found, scans)]
    paths: list[Path] = []
    for comparison in found:
        for name, figure in _figures(comparison, store, scans):
            paths += save(figure, folder / name)
    for name, figure in asked:
        paths += save(figure, folder / name)
    return paths


def _figures(
    comparison: SearchComparison, store: RecordStore, asked: Sequence[str]
) -> Iterator[Named]:
    yield from _paged(f"anytime-{comparison.name}", anytime(comparison, store))
    yield from _paged(f"allocations-{comparison.name}", allocation_maps(comparison, store))
    yield from _sensitivities(comparison, store)
    for own in comparison.searches.values():
        yield from _trees(rows_of(own)[0], store)
    every = sweep_series(comparison.rows, FEWEST)
    for path in dict.fromkeys(series.path for series in every):
        if path not in asked:
            yield f"scan-{path}-{comparison.name}", scan(comparison, of_path(every, path))


def _paged(name: str, figures: Sequence[Figure]) -> Iterator[Named]:
    for number, figure in enumerate(figures, 1):
        yield (f"{name}-{number}" if len(figures) > 1 else name), figure


def _sensitivities(comparison: SearchComparison, store: RecordStore) -> Iterator[Named]:
    """Draw every additive table once: it does not depend on the searcher."""
    drawn = set()
    for method, own in comparison.searches.items():
        tables = [t for job in own["job"] if (t := read_table(store, job, "table")) is not None]
        recipe = own["recipe"].iloc[0]
        key = key_of(without(settings_of(recipe), ("searcher", "evaluations")))
        if not tables or key in drawn:
            continue
        drawn.add(key)
        seeds = f", {len(tables)} seeds" if len(tables) > 1 else ""
        mean = mean_table(tables)
        yield (
            f"sensitivity-{comparison.name}-{method}",
            sensitivity_map(
                mean,
                telling_precision(mean, comparison.budget),
                f"{comparison.title}, {method}{seeds}",
                objective_of(recipe),
            ),
        )


def _trees(row: Row, store: RecordStore) -> Iterator[Named]:
    job, recipe = row["job"], row["recipe"]
    merges = read_table(store, str(job), "merges")
    if merges is not None:
        yield f"merge-tree-{job}", merge_tree(merges, _title(row))
        nodes = telling_nodes(merges)
        if nodes:
            figure = pareto_drop(merges, nodes, _title(row), objective_of(recipe))
            yield f"pareto-drop-{job}", figure


def _title(row: Row) -> str:
    return f"{row['model']}, {row['method']}, {row['budget']}, seed {row['seed']}"


def _asked_merges(
    store: RecordStore, found: Sequence[SearchComparison], asked: Sequence[str]
) -> Iterator[Named]:
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
        assert merges is not None  # its file is there
        try:
            figure = pareto_drop(merges, [int(node)], _title(row), objective_of(row["recipe"]))
        except BenchError as error:
            raise BenchError(f"job '{job}': {error}") from None
        yield f"pareto-drop-{job}-node{int(node)}", figure


def _asked_scans(found: Sequence[SearchComparison], asked: Sequence[str]) -> Iterator[Named]:
    every = [(own, series) for own in found for series in sweep_series(own.rows)]
    for path in dict.fromkeys(asked):
        of_path([series for _, series in every], path)
        for comparison in found:
            own = [s for home, s in every if home is comparison and s.path == path]
            if own:
                yield f"scan-{path}-{comparison.name}", scan(comparison, own)
