"""The records of one or several runs, and where the files of each job are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import BenchError
from .left_out import current
from .schema import JobRecord
from .store import RecordStore


@dataclass(frozen=True)
class Runs:
    """Records by job, each once; ``stores`` has the store with the files of every job.

    ``left_out`` are sentences on records of the folders that are not among these.
    """

    folders: tuple[Path, ...]
    records: tuple[JobRecord, ...]
    stores: Mapping[str, RecordStore]
    left_out: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The names of the folders, for titles."""
        return ", ".join(folder.resolve().name for folder in self.folders)

    def store(self, job: str) -> RecordStore:
        """Return the store with the files of ``job``."""
        return self.stores[job]

    def with_records(self, records: Iterable[JobRecord]) -> "Runs":
        """Return these runs with ``records`` alone."""
        return replace(self, records=tuple(records))


def read_runs(folders: Iterable[Path | str]) -> Runs:
    """Return the current records of all ``folders``.

    A job that is in two folders with the same result counts once, from the first of them. Raises
    BenchError for no folder, a folder without records, a file that cannot be read, and for jobs
    whose results in two folders differ: all of them are named.
    """
    found: dict[str, JobRecord] = {}
    stores: dict[str, RecordStore] = {}
    left_out: list[str] = []
    differ: list[str] = []
    paths = tuple(Path(folder) for folder in folders)
    if not paths:
        raise BenchError("give the folder of a run, with records/ in it")
    for path in paths:
        store = RecordStore(path)
        records, sentences = current(store)
        if not records:
            raise BenchError(
                f"{path} has no records: give the folder of a run, with records/ in it"
            )
        left_out += sentences
        for record in records:
            known = found.setdefault(record.job, record)
            first = stores.setdefault(record.job, store)
            if not same_result(known, record):
                differ.append(
                    f"{first.folder} and {path} have different results of job '{record.job}'"
                )
    if differ:
        raise BenchError(
            f"{'; '.join(differ)}: give one of these folders, or remove one of the two records"
        )
    every = tuple(found[job] for job in sorted(found))
    return Runs(paths, every, stores, tuple(dict.fromkeys(left_out)))


def same_result(first: JobRecord, second: JobRecord) -> bool:
    """Return whether two records of one job say the same: only times and places may differ."""
    names = ("fingerprint", "status", "scores", "costs", "allocation")
    return all(getattr(first, name) == getattr(second, name) for name in names)
