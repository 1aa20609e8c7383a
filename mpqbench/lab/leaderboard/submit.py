"""Take records of contributors into a leaderboard: all of them, or none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...core.errors import BenchError
from ...core.files import digest_of_bytes, write_atomic
from ...core.yaml_text import dump_yaml
from ...job.resources import Resources
from ...records.board import RECORDS, SUBMISSIONS, Submission, Submissions
from ...records.left_out import current
from ...records.schema import JobRecord
from ...records.store import RecordStore, read_record
from ..verify import verify_run
from .check import readable
from .recipes import check_recipes

MOST_BYTES = 4 * 2**20  # of one record, and of one allocation
MOST_RECORDS = 10_000
MOST_NAME = 100  # characters of a contributor's name
_RESULTS = ("done", "diverged", "infeasible")
_NOT_TOLD = ("costs: ", "the record has no checksum")  # what a submission must have


@dataclass(frozen=True)
class _Given:
    """A record that was given, in the store with the files beside it."""

    record: JobRecord
    store: RecordStore

    @property
    def job(self) -> str:
        return self.record.job

    @property
    def files(self) -> dict[str, bytes]:
        """The record and its allocation as they are, by their path in the leaderboard."""
        paths = self.store.record_path(self.job), self.store.allocation_path(self.job)
        found = {f"{path.parent.name}/{path.name}": path for path in paths if path.is_file()}
        return {name: path.read_bytes() for name, path in found.items()}


def submit(
    board: Path, paths: Sequence[Path], contributor: str, resources: Resources
) -> dict[str, Submission]:
    """Add the records in ``paths`` to ``board``; return what was noted of each job.

    ``paths`` are folders of runs, or files in ``records/`` of such. Their allocations come with
    them. Files are read as data; only plugins that are installed, or were given, are run to count
    costs. Raises BenchError with everything that is wrong before anything is written.
    """
    contributor = contributor.strip()
    if not contributor.isprintable() or not 0 < len(contributor) <= MOST_NAME:
        raise BenchError(f"--as takes a name of 1 to {MOST_NAME} printable characters")
    given = [each for path in paths for each in _read(path)]
    wrong = [*_collisions(board, given), *_faults(board, given, resources)]
    if wrong:
        raise BenchError(f"nothing was added: {'; '.join(dict.fromkeys(wrong))}")
    return _write(board, given, contributor)


def _read(path: Path) -> list[_Given]:
    """Return the records of a run, or that of one file. Raises BenchError for what is not safe."""
    if path.is_dir():
        store = RecordStore(path)
        paths = store.paths()
    else:
        store, paths = RecordStore(path.parent.parent), [path]
        if path.parent.name != RECORDS or path.suffix != ".json":
            raise BenchError(f"{path} is no file in records/ of a run: give one, or the run")
    if not paths:
        raise BenchError(f"{path} has no records: give the folder of a run, with records/ in it")
    if len(paths) > MOST_RECORDS:
        raise BenchError(f"{path} has {len(paths):,} records, and {MOST_RECORDS:,} are the most")
    for each in paths:
        _check_file(each)
        _check_file(store.allocation_path(each.stem))
    records = current(store)[0] if path.is_dir() else [read_record(path)]
    return [_Given(record, store) for record in records]


def _check_file(path: Path) -> None:
    if path.is_symlink() or path.parent.is_symlink():
        raise BenchError(f"{path} is a link: give the file itself")
    if path.exists() and not path.is_file():
        raise BenchError(f"{path} is no file")
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise BenchError(f"{path} is larger than {MOST_BYTES // 2**20} MiB")


def _collisions(board: Path, given: Sequence[_Given]) -> Iterator[str]:
    seen = set()
    for each in given:
        if RecordStore(board).record_path(each.job).exists():
            yield f"{each.job} is in {board} already"
        if each.job in seen:
            yield f"{each.job} was given twice"
        seen.add(each.job)


def _faults(board: Path, given: Sequence[_Given], resources: Resources) -> Iterator[str]:
    """Yield what forbids each record, after everything that can be recomputed was."""
    own, new = readable(RecordStore(board)), [each.record for each in given]
    metrics = {record.metric_fingerprint for record in own} - {None}
    for record in new:
        if record.status not in _RESULTS:
            yield f"{record.job} is '{record.status}', which is no result"
        if metrics and record.metric_fingerprint not in {*metrics, None}:
            yield f"{record.job} has another metric fingerprint than {board}: it cannot be ranked"
        if record.costs is not None and not record.costs.satisfied:
            yield f"{record.job} is over its budget {record.budget}"
    jobs = {record.job for record in new}
    for store in {each.store.folder: each.store for each in given}.values():
        for found in verify_run(store, resources.loader, resources.registry, from_images=True):
            if found.job in jobs:
                missing = [text for text in found.unknown if text.startswith(_NOT_TOLD)]
                yield from (f"{found.job}: {text}" for text in (*found.faults, *missing))
    for job, text, is_note in check_recipes(board, [*own, *new], resources):
        if job in jobs and not is_note:
            yield f"{job}: {text}"


def _write(board: Path, given: Sequence[_Given], contributor: str) -> dict[str, Submission]:
    """Write everything; what was written is removed again if that fails."""
    date = datetime.now(UTC).date().isoformat()
    noted: dict[str, Submission] = {}
    contents: dict[Path, bytes] = {}
    for each in given:
        files = each.files
        contents |= {board / name: content for name, content in sorted(files.items())}
        digest = digest_of_bytes(files[f"{RECORDS}/{each.job}.json"])
        noted[each.job] = Submission(contributor=contributor, date=date, digest=digest)
    every = Submissions(jobs=dict(sorted((Submissions.read(board).jobs | noted).items())))
    try:
        for path, content in contents.items():
            write_atomic(path, content)
        write_atomic(board / SUBMISSIONS, dump_yaml(every.model_dump()).encode())
    except BaseException:
        for path in contents:
            path.unlink(missing_ok=True)
        raise
    return noted
