"""Every figure of a run's searches, saved as PNG and PDF."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import BenchError, unknown
from ...records.schema import JobRecord
from ...records.store import RecordStore
from ..style import save
from ..table import Table
from .allocation_map import allocation_maps
from .anytime import anytime
from .anytime_data import objective_of
from .grids import mean_table, telling_precision
from .merge_data import telling_nodes
from .merge_tree import merge_tree
from .pareto_drop import pareto_drop
from .runs import SearchComparison, contests, read_table
from .scan import METRICS, scan
from .scan_data import FEWEST, SweepSeries, families, of_path
from .sensitivity_map import sensitivity_map
from .settings import key_of, settings_of, without

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Named = tuple[str, "Figure"]


def write_search_figures(
    store: RecordStore,
    records: Sequence[JobRecord],
    table: Table,
    names: Sequence[str],
    folder: Path,
    merges: Sequence[str] = (),
    scans: Sequence[str] = (),
) -> list[Path]:
    """Writes what the files of ``store`` allow into ``folder``; returns the paths.

    ``names`` are file name parts of the blocks of ``table``. ``merges`` ("JOB:NODE") and ``scans``
    (dotted settings) are drawn besides. A run without searches has no figure. Raises BenchError
    where a job, a node or a setting is not there.
    """
    found = contests(records, table, names)
    asked = [*_asked_merges(store, found, merges), *_asked_scans(found, scans)]
    paths: list[Path] = []
    for contest in found:
        for name, figure in _of_contest(contest, store, scans):
            paths += save(figure, folder / name)
    for name, figure in asked:
        paths += save(figure, folder / name)
    return paths


def _of_contest(
    contest: SearchComparison, store: RecordStore, asked: Sequence[str]
) -> Iterable[Named]:
    yield from _paged(f"anytime-{contest.name}", anytime(contest, store))
    yield from _paged(f"allocations-{contest.name}", allocation_maps(contest, store))
    yield from _sensitivities(contest, store)
    for own in contest.searches.values():
        yield from _trees(own[0], store)
    unasked = [family for family in _families(contest, FEWEST) if family.path not in asked]
    for path in dict.fromkeys(family.path for family in unasked):
        yield _scan_name(contest, path), scan(contest, of_path(unasked, path))


def _paged(name: str, figures: Sequence[Figure]) -> Iterable[Named]:
    for number, figure in enumerate(figures, 1):
        yield (f"{name}-{number}" if len(figures) > 1 else name), figure


def _sensitivities(contest: SearchComparison, store: RecordStore) -> Iterable[Named]:
    """One for each table that is not the same by definition: a searcher does not change it."""
    drawn = set()
    for method, own in contest.searches.items():
        tables = [found for r in own if (found := read_table(store, r.job, "table")) is not None]
        settings = without(settings_of(own[0].recipe), ("searcher", "evaluations"))
        if not tables or key_of(settings) in drawn:
            continue
        drawn.add(key_of(settings))
        title = f"{contest.title}, {method}" + (f", {len(tables)} seeds" if len(tables) > 1 else "")
        mean = mean_table(tables)
        precision = telling_precision(mean, contest.budget)
        yield (
            f"sensitivity-{contest.name}-{method}",
            sensitivity_map(mean, precision, title, objective_of(own[0])),
        )


def _trees(record: JobRecord, store: RecordStore) -> Iterable[Named]:
    merges = read_table(store, record.job, "merges")
    if merges is not None:
        title = _title(record)
        yield f"merge-tree-{record.job}", merge_tree(merges, title)
        nodes = telling_nodes(merges)
        if nodes:
            yield (
                f"pareto-drop-{record.job}",
                pareto_drop(merges, nodes, title, objective_of(record)),
            )


def _title(record: JobRecord) -> str:
    return f"{record.model}, {record.method}, {record.budget}, seed {record.seed}"


def _asked_merges(
    store: RecordStore, found: Sequence[SearchComparison], asked: Sequence[str]
) -> list[Named]:
    searches = {r.job: r for contest in found for own in contest.searches.values() for r in own}
    valid = [job for job in searches if store.trace_path(job, "merges").is_file()] if asked else []
    named: list[Named] = []
    for text in asked:
        job, _, node = text.rpartition(":")
        if not job or not node.isdigit():
            raise BenchError(f"'{text}' is not JOB:NODE, such as a job of this run with ':7'")
        if not valid:
            raise BenchError("no search of this run left merges: those of searcher 'tss' do")
        if job not in valid:
            raise unknown("job with merges", job, valid)
        record, merges = searches[job], read_table(store, job, "merges")
        assert merges is not None  # its file is there
        try:
            figure = pareto_drop(merges, [int(node)], _title(record), objective_of(record))
        except BenchError as error:
            raise BenchError(f"job '{job}': {error}") from None
        named.append((f"pareto-drop-{job}-node{int(node)}", figure))
    return named


def _asked_scans(found: Sequence[SearchComparison], asked: Sequence[str]) -> list[Named]:
    every = [(contest, family) for contest in found for family in _families(contest)]
    named: list[Named] = []
    for path in dict.fromkeys(asked):
        own = of_path([family for _, family in every], path)
        for contest in found:
            mine = [family for home, family in every if home is contest and family in own]
            if mine:
                named.append((_scan_name(contest, path), scan(contest, mine)))
    return named


def _families(contest: SearchComparison, fewest: int = 2) -> list[SweepSeries]:
    records = [record for own in contest.searches.values() for record in own]
    return families([r for r in records if METRICS & r.scores.keys()], fewest)


def _scan_name(contest: SearchComparison, path: str) -> str:
    return f"scan-{path}-{contest.name}"
