"""The figures of a report by name, drawn from the leaderboard and the files of its jobs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from ..core.errors import BenchError, unknown
from ..metrics.images import first_images, first_shards, first_texts
from ..records.columns import Row
from ..records.frame import rows_of
from ..records.runs import Runs, read_runs
from ..records.selection import Selection
from ..records.settings import key_of, objective_of, settings_of, without
from ..records.store import RecordStore
from .agreement import agreement_figures
from .drawing import Picture
from .looks import Style
from .samples import IMAGES, sample_grid, sample_rows
from .search import anytime as anytime_figures
from .search.maps import allocation_maps, mean_table, sensitivity_map, telling_precision
from .search.merges import merge_tree, pareto_drop, telling_nodes
from .search.runs import SearchComparison, comparisons, left_out, read_table
from .search.scan import FEWEST, of_path, scan, sweep_series
from .stacked import overhead_figures, seconds_figures
from .study_files import branch_figures, effects_of_files, proxy_figures
from .table import Table
from .tradeoff import costs_that_differ, tradeoff
from .tuning import courses, tuning

Named = Iterator[tuple[str, Picture]]


@dataclass(frozen=True)
class FigureKind:
    """A figure: what it shows, what it needs, its usual width, and the function that draws it.

    ``draw`` yields every figure that the runs allow. ``file`` is the file of a study in the folder
    of a run from which it is drawn; without one it is drawn from records.
    """

    text: str
    needs: str
    draw: Callable[[Table, Runs, Style], Named]
    width: Literal["column", "text"] = "column"
    file: str | None = None


def draw(name: str, table: Table, runs: Runs, selection: Selection) -> Named:
    """Yield the figures called ``name``: ``table`` has what is selected of ``runs``.

    All methods of ``runs`` decide on colours. Raises BenchError for an unknown name.
    """
    kind = kind_of(name)
    methods = tuple(dict.fromkeys(record.method for record in runs.records))
    yield from kind.draw(table, runs, Style(selection, methods, kind.width))


def kind_of(name: str) -> FigureKind:
    """Return the kind called ``name``. Raises BenchError if there is none."""
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    return FIGURES[name]


def runs_for(name: str, folders: Iterable[Path]) -> Runs:
    """Return the runs of ``folders`` as the figure ``name`` needs them.

    The folder of a study that leaves a table alone needs no records. Raises BenchError as
    ``read_runs``.
    """
    paths = tuple(folders)
    if kind_of(name).file is None or not paths:
        return read_runs(paths)
    recorded = [path for path in paths if RecordStore(path).paths()]
    runs = read_runs(recorded) if recorded else Runs((), (), {})
    return replace(runs, folders=paths)


def _tradeoffs(table: Table, runs: Runs, style: Style) -> Named:
    for block in table.blocks:
        for cost in style.selection.costs or costs_that_differ(block):
            if (figure := tradeoff(block, style, cost)) is not None:
                yield f"fd-{cost}-{block.name}", figure


def _samples(table: Table, runs: Runs, style: Style) -> Named:
    def read(job: str, count: int) -> np.ndarray:
        return first_images(runs.store(job).samples_path(job), count)

    def texts(row: Row) -> list[str]:
        job, count = str(row["job"]), min(IMAGES, int(row["n_images"]))
        return first_texts(runs.store(job).samples_path(job), count)

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
        grids = [sample_grid(block, rows, read, style, texts(rows[0])) for rows in pages]
        yield from _paged(f"samples-{block.name}", grids, block.done)


def _tunings(table: Table, runs: Runs, style: Style) -> Named:
    for block in table.blocks:
        if found := courses(block, runs):
            yield from _paged(
                f"tuning-{block.name}", [tuning(block.model, found, style)], block.done
            )


def _overheads(table: Table, runs: Runs, style: Style) -> Named:
    for block in table.blocks:
        yield from _paged(f"overhead-{block.name}", overhead_figures(block, style), block.done)


def _seconds(table: Table, runs: Runs, style: Style) -> Named:
    for block in table.blocks:
        pages = seconds_figures(block, runs, style)
        yield from _paged(f"seconds-{block.name}", pages, block.done)


def _agreements(table: Table, runs: Runs, style: Style) -> Named:
    for name, figure in agreement_figures(table, style):
        yield f"agreement-{name}", figure


def _anytimes(table: Table, runs: Runs, style: Style) -> Named:
    for each in comparisons(table):
        pages = anytime_figures.anytime(each, runs, style)
        yield from _paged(f"search/anytime-{each.name}", pages, each.rows)


def _allocations(table: Table, runs: Runs, style: Style) -> Named:
    for each in comparisons(table):
        pages = allocation_maps(each, runs, style)
        yield from _paged(f"search/allocations-{each.name}", pages, each.rows)


def _sensitivities(table: Table, runs: Runs, style: Style) -> Named:
    for comparison in comparisons(table):
        yield from _sensitivity(comparison, runs, style)


def _sensitivity(comparison: SearchComparison, runs: Runs, style: Style) -> Named:
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
        title = f"{comparison.title}, {style.label(method)}{seeds}"
        figure = sensitivity_map(mean, precision, title, objective_of(recipe), style)
        yield f"search/sensitivity-{comparison.name}-{method}", figure


def _merged(table: Table, runs: Runs) -> Iterator[tuple[Row, pd.DataFrame]]:
    """Yield the row of the first seed of every search that left merges, and these."""
    for comparison in comparisons(table):
        for rows in comparison.searches.values():
            row = rows_of(rows)[0]
            if (merges := read_table(runs, row["job"], "merges")) is not None:
                yield row, merges


def _trees(table: Table, runs: Runs, style: Style) -> Named:
    for row, merges in _merged(table, runs):
        yield f"search/merge-tree-{row['job']}", merge_tree(merges, _title(row, style), style)


def _drops(table: Table, runs: Runs, style: Style) -> Named:
    for row, merges in _merged(table, runs):
        if nodes := telling_nodes(merges):
            words = _title(row, style), objective_of(row["recipe"])
            figure = pareto_drop(merges, nodes, words, style)
            yield f"search/pareto-drop-{row['job']}", figure


def _scans(table: Table, runs: Runs, style: Style) -> Named:
    for comparison in comparisons(table):
        every = sweep_series(comparison.rows, FEWEST)
        for path in dict.fromkeys(series.path for series in every):
            figure = scan(comparison, of_path(every, path), style=style)
            yield f"search/scan-{path}-{comparison.name}", figure


FIGURES: Mapping[str, FigureKind] = {
    "tradeoff": FigureKind(
        "Fréchet distance against cost, with intervals and the Pareto front.",
        "a quantized job that is done, with a Fréchet distance", _tradeoffs,
    ),
    "samples": FigureKind(
        "Images of the same noise, a row for each method.",
        "jobs whose images were kept", _samples, "text",
    ),
    "overhead": FigureKind(
        "BitOPs by source as stacked bars.",
        "records of the cost rule that counts overhead by source", _overheads,
    ),
    "seconds": FigureKind(
        "Time of every stage as stacked bars.", "a quantized job that is done", _seconds
    ),
    "agreement": FigureKind(
        "Whether two models order methods alike, with Kendall's tau.",
        "two models with four methods at the same budget and format", _agreements,
    ),
    "tuning": FigureKind(
        "Losses of training by step.", "methods with a tuner, and the traces of their jobs",
        _tunings,
    ),
    "anytime": FigureKind(
        "The best score of each search by evaluations.", "searches, and the traces of their jobs",
        _anytimes,
    ),
    "allocations": FigureKind(
        "Bits of every group in every block.", "searches, and the allocations of their jobs",
        _allocations,
    ),
    "sensitivity": FigureKind(
        "The score that each group alone costs.", "searches that left a table in traces/",
        _sensitivities,
    ),
    "merge-tree": FigureKind(
        "The tree of a search.", "searches by 'tss', and their merges in traces/", _trees, "text"
    ),
    "pareto-drop": FigureKind(
        "The points that merges of a search kept.",
        "searches by 'tss', and their merges in traces/", _drops,
    ),
    "scan": FigureKind(
        "What one number of a recipe does.",
        f"{FEWEST} methods with a search that differ in one number alone", _scans,
    ),
    "effects": FigureKind(
        "Effects of single changes of an ablation.",
        "the folder of an ablation, with effects.csv in it", effects_of_files, "text",
        "effects.csv",
    ),
    "proxies": FigureKind(
        "Rank correlations of proxies; several folders are several models side by side.",
        "the folder of a study of proxies, with proxies.csv in it", proxy_figures, "column",
        "proxies.csv",
    ),
    "branches": FigureKind(
        "Output error of layers by the size of a branch.",
        "the folder of a study of branches, with branches.csv in it", branch_figures, "text",
        "branches.csv",
    ),
}  # fmt: skip
OF_RECORDS = tuple(name for name, kind in FIGURES.items() if kind.file is None)


def asked_merges(table: Table, runs: Runs, asked: Sequence[str]) -> Named:
    """Yield the merges asked for as JOB:NODE. Raises BenchError for one that is not there."""
    style = Style()
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
            words = _title(row, style), objective_of(row["recipe"])
            figure = pareto_drop(merges, [int(node)], words, style)
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


def _paged(name: str, figures: Sequence[Picture], rows: pd.DataFrame) -> Named:
    """Yield figures of ``rows``, numbered if they are several, with N in their captions."""
    counts = sorted(rows["n_images"].dropna().unique())
    for number, figure in enumerate(figures, 1):
        figure.note = f"{figure.note} N = {', '.join(map(str, counts))} images.".strip()
        yield (f"{name}-{number}" if len(figures) > 1 else name), figure


def _title(row: Row, style: Style) -> str:
    method = style.label(str(row["method"]))
    return f"{row['model']}, {method}, {row['budget']}, seed {row['seed']}"
