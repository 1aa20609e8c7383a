"""Check a leaderboard: everything in it that can be told to be other than it was, is."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import BenchError
from ...core.files import digest_of_file
from ...core.precision import Budget
from ...core.protocol import Protocol
from ...core.settings import digest_of, validate
from ...cost.count import budget_limit
from ...cost.overhead import COST_RULE
from ...dit.groups import layer_groups
from ...dit.loading import skeleton
from ...job.loading import Loader
from ...job.resources import Resources
from ...records.board import MANIFEST, RECORDS, SUBMISSIONS, Manifest, Submissions, kept_files
from ...records.environment import not_citable
from ...records.schema import JobRecord
from ...records.store import RecordStore, read_record
from ..recount import FIRST_RULE
from ..verify import verify_run
from .recipes import check_recipes

_OLD_RULE = "BitOPs in total: "  # how a verification begins that could not count them again


@dataclass(frozen=True)
class Finding:
    """One sentence on a file or a job of a leaderboard.

    A note is no fault: it says what could not be checked, or what a reader has to know.
    """

    place: str
    text: str
    is_note: bool = False


def check_board(board: Path, resources: Resources) -> Iterator[Finding]:
    """Yield what is wrong with the records of ``board``, and notes on what cannot be told.

    Compared are the files with the manifest, records with their checksums, schema, allocations,
    budgets, kept samples, and with the recipes of the suite; nothing is written. Renderings are
    checked where they are made (``report.boards``).
    """
    yield from _manifest(board)
    records: list[JobRecord] = []
    for folder in sorted(path.parent for path in board.rglob(RECORDS) if path.is_dir()):
        store = RecordStore(folder)
        try:
            yield from _recomputed(store, resources)
        except BenchError as error:  # a record of no protocol
            yield Finding("", str(error))
        records += readable(store)
    yield from _names(records)
    yield from _fingerprints(records)
    for job, text, is_note in check_recipes(board, records, resources):
        yield Finding(job, text, is_note)
    yield from _submissions(board)
    for record in records:
        if record.status != "done":
            yield Finding(record.job, f"{record.status}: {record.reason}", is_note=True)
    for reason in not_citable(records):
        yield Finding("", f"rows may not be cited together: {reason}", is_note=True)


def summary(notes: Iterable[Finding]) -> list[str]:
    """Return notes as lines, alike ones once, with the number of the jobs."""
    counts = Counter(note.text for note in notes)
    return [f"{text} ({count} records)" if count > 1 else text for text, count in counts.items()]


def readable(store: RecordStore) -> list[JobRecord]:
    """Return the records of ``store`` that can be read."""
    found = []
    for path in store.paths():
        try:
            found.append(read_record(path))
        except BenchError:  # which a verification tells
            continue
    return found


def _manifest(board: Path) -> Iterator[Finding]:
    try:
        changes = Manifest.read(board).differences(kept_files(board))
    except BenchError as error:
        yield Finding(MANIFEST, str(error))
        return
    for name, what in changes.items():
        yield Finding(name, f"{what} since {MANIFEST} was made")


def _recomputed(store: RecordStore, resources: Resources) -> Iterator[Finding]:
    """Yield what recomputing finds, and the budgets of records whose allocation was not kept."""
    for found in verify_run(store, resources.loader, resources.registry, from_images=True):
        for text in found.faults:
            yield Finding(found.job, text)
        for text in found.unknown:
            if not text.startswith(_OLD_RULE):
                yield Finding(found.job, text, is_note=True)
        if any(text.startswith("costs: ") for text in found.unknown):
            yield from _over(store.read(found.job), resources.loader)
    for record in readable(store):
        if record.costs is not None and record.costs.cost_rule != COST_RULE:
            rule = record.costs.cost_rule or FIRST_RULE
            yield Finding(record.job, f"cost rule {rule}: BitOPs not recomputed", is_note=True)
        if record.costs is not None and not record.costs.satisfied:
            yield Finding(record.job, f"over its budget {record.budget}", is_note=True)


def _over(record: JobRecord, loader: Loader) -> Iterator[Finding]:
    """Yield a record that says to keep a budget that its own BitOPs exceed."""
    costs, budget = record.costs, Budget.parse(record.budget)
    if costs is None or not costs.satisfied or budget.total:
        return
    try:
        model = loader.model(record.model, validate(Protocol, record.protocol, record.job))
    except BenchError:  # which is why its costs were not recomputed
        return
    transformer = skeleton(model.transformer)
    limit = budget_limit(transformer, layer_groups(transformer), budget)
    with_branch = record.recipe.get("branch_in_budget", True)
    bitops = costs.bitops_linear + (costs.branch_bitops if with_branch else 0)
    if limit is not None and bitops > limit:
        text = f"{bitops:,} BitOPs of linear layers exceed the {limit:,} of {record.budget}"
        yield Finding(record.job, text)


def _names(records: Sequence[JobRecord]) -> Iterator[Finding]:
    """Yield jobs whose name is not that of their method, budget and seed."""
    for record in records:
        budget = str(Budget.parse(record.budget)).replace(":", "-")
        parts = record.job.split("__")
        for part in (record.method, budget, f"s{record.seed}"):
            if part not in parts:
                yield Finding(record.job, f"the job has another name than its '{part}' gives")


def _fingerprints(records: Sequence[JobRecord]) -> Iterator[Finding]:
    """Yield records of one protocol whose metrics are not those of the others."""
    groups: dict[str, list[JobRecord]] = defaultdict(list)
    for record in records:
        if record.metric_fingerprint is not None:
            protocol = {**record.protocol, "name": ""}
            groups[digest_of([protocol, record.extractor])].append(record)
    for alike in groups.values():
        counts = Counter(str(record.metric_fingerprint) for record in alike)
        usual, count = counts.most_common(1)[0]
        for record in alike:
            if record.metric_fingerprint != usual:
                text = f"metric fingerprint {record.metric_fingerprint}, but {usual} in {count} "
                yield Finding(record.job, f"{text}other records of its protocol")


def _submissions(board: Path) -> Iterator[Finding]:
    try:
        jobs = Submissions.read(board).jobs
    except BenchError as error:
        yield Finding(SUBMISSIONS, str(error))
        return
    for job, given in jobs.items():
        if digest_of_file(RecordStore(board).record_path(job)) != given.digest:
            yield Finding(job, f"is not the record that {given.contributor} gave ({SUBMISSIONS})")
