"""The figures of a report by name, drawn from the leaderboard and the files of its jobs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ..core.errors import BenchError, unknown
from ..metrics.images import first_images, first_shards
from ..records.columns import Row
from ..records.frame import rows_of
from ..records.runs import Runs
from ..records.selection import Selection
from ..records.settings import key_of, objective_of, settings_of, without
from .samples import IMAGES, sample_grid, sample_rows
from .search import anytime as anytime_figures
from .search.maps import allocation_maps, mean_table, sensitivity_map, telling_precision
from .search.merges import merge_tree, pareto_drop, telling_nodes
from .search.runs import SearchComparison, comparisons, left_out, read_table
from .search.scan import FEWEST, of_path, scan, sweep_series
from .table import Table
from .tradeoff import tradeoff
from .tuning import courses, tuning

Named = Iterator[tuple[str, Figure]]


@dataclass(frozen=True)
class FigureKind:
    """A figure: what it shows, and the function that yields every one that the runs allow."""

    text: str
    draw: Callable[[Table, Runs, Selection], Named]


def draw(name: str, table: Table, runs: Runs, selection: Selection) -> Named:
    """Yield the figures called ``name``. Raises BenchError for an unknown name."""
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    yield from FIGURES[name].draw(table, runs, selection)


def _tradeoffs(table: Table, runs: Runs, selection: Selection) -> Named:
    for block in table.blocks:
        if (figure := tradeoff(block)) is not None:
            yield f"fd-bitops-{block.name}", figure


def _samples(table: Table, runs: Runs, selection: Selection) -> Named:
    def read(job: str, count: int) -> np.ndarray:
        return first_images(runs.store(job).samples_path(job), count)

    def kept(row: Row) -> bool:
        """Return whether the images to be shown are there and whole; warn where they are not."""
        job = str(row["job"])
        store = runs.store(job)
        if not store.has_samples(job):
            return False
        try:
            for path in first_shards(store.samples_path(job), min(IMAGES, int(row["n_images"]))):
                store.check_file(job, path)
        except BenchError as error:
            left_out(str(error))
            return False
        return True

    for block in table.blocks:
        pages = sample_rows(block, kept)
        grids = [sample_grid(block, rows, read) for rows in pages]
        yield from _paged(f"samples-{block.name}", grids)


def _tunings(table: Table, runs: Runs, selection: Selection) -> Named:
    for block in table.blocks:
        if found := courses(block, runs):
            yield f"tuning-{block.name}", tuning(block.model, found)


def _anytimes(table: Table, runs: Runs, selection: Selection) -> Named:
    for each in comparisons(table):
        yield from _paged(f"search/anytime-{each.name}", anytime_figures.anytime(each, runs))


def _allocations(table: Table, runs: Runs, selection: Selection) -> Named:
    for each in comparisons(table):
        yield from _paged(f"search/allocations-{each.name}", allocation_maps(each, runs))


def _sensitivities(table: Table, runs: Runs, selection: Selection) -> Named:
    for comparison in comparisons(table):
        yield from _sensitivity(comparison, runs)


def _sensitivity(comparison: SearchComparison, runs: Runs) -> Named:
    """Draw every additive table once: it does not depend on the searcher."""
    drawn = set()
    for method, rows in comparison.searches.items():
        tables = [t for job in rows["job"] if (t := read_table(runs, job, "table")) is not None]
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
        yield f"search/sensitivity-{comparison.name}-{method}", figure


def _merges(table: Table, runs: Runs, selection: Selection) -> Named:
    for comparison in comparisons(table):
        for rows in comparison.searches.values():
            row = rows_of(rows)[0]
            job, merges = row["job"], read_table(runs, row["job"], "merges")
            if merges is not None:
                yield f"search/merge-tree-{job}", merge_tree(merges, _title(row))
                if nodes := telling_nodes(merges):
                    figure = pareto_drop(merges, nodes, _title(row), objective_of(row["recipe"]))
                    yield f"search/pareto-drop-{job}", figure


def _scans(table: Table, runs: Runs, selection: Selection) -> Named:
    for comparison in comparisons(table):
        every = sweep_series(comparison.rows, FEWEST)
        for path in dict.fromkeys(series.path for series in every):
            yield f"search/scan-{path}-{comparison.name}", scan(comparison, of_path(every, path))


FIGURES: Mapping[str, FigureKind] = {
    "tradeoff": FigureKind("Fréchet distance against cost, with intervals.", _tradeoffs),
    "samples": FigureKind("Images of the same noise, a row for each method.", _samples),
    "tuning": FigureKind("Losses of training by step.", _tunings),
    "anytime": FigureKind("The best score of each search by evaluations.", _anytimes),
    "allocations": FigureKind("Bits of every group in every block.", _allocations),
    "sensitivity": FigureKind("The score that each group alone costs.", _sensitivities),
    "merges": FigureKind("The tree of a search, and the points of its merges.", _merges),
    "scan": FigureKind("What one number of a recipe does.", _scans),
}


def asked_merges(table: Table, runs: Runs, asked: Sequence[str]) -> Named:
    """Yield the merges asked for as JOB:NODE. Raises BenchError for one that is not there."""
    searches = {row["job"]: row for each in comparisons(table) for row in rows_of(each.rows)}
    valid = (
        [j for j in searches if runs.store(j).trace_path(j, "merges").is_file()] if asked else []
    )
    for text in asked:
        job, _, node = text.rpartition(":")
        if not job or not node.isdigit():
            raise BenchError(f"'{text}' is not JOB:NODE, such as a job of this run with ':7'")
        if not valid:
            raise BenchError("no search of this run left merges: those of searcher 'tss' do")
        if job not in valid:
            raise unknown("job with merges", job, valid)
        row, merges = searches[job], read_table(runs, job, "merges")
        if merges is None:  # damaged, which has been told
            continue
        try:
            figure = pareto_drop(merges, [int(node)], _title(row), objective_of(row["recipe"]))
        except BenchError as error:
            raise BenchError(f"job '{job}': {error}") from None
        yield f"search/pareto-drop-{job}-node{int(node)}", figure


def asked_scans(table: Table, asked: Sequence[str]) -> Named:
    """Yield the scans of the settings asked for. Raises BenchError for one that is not there."""
    found = comparisons(table)
    every = [sweep_series(comparison.rows) for comparison in found]
    for path in dict.fromkeys(asked):
        of_path([series for each in every for series in each], path)
        for comparison, each in zip(found, every, strict=True):
            shown = [series for series in each if series.path == path]
            if shown:
                yield f"search/scan-{path}-{comparison.name}", scan(comparison, shown)


def _paged(name: str, figures: Sequence[Figure]) -> Named:
    for number, figure in enumerate(figures, 1):
        yield (f"{name}-{number}" if len(figures) > 1 else name), figure


def _title(row: Row) -> str:
    return f"{row['model']}, {row['method']}, {row['budget']}, seed {row['seed']}"
