"""Several runs merged into one folder, or into one table."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import BenchError, NotWritable
from ..core.files import reason_of, write_atomic, write_table
from .environment import MeasuringEnvironment
from .frame import records_frame
from .left_out import current
from .runs import same_result
from .schema import JobRecord
from .store import RecordStore

FILE = "merged.json"  # marks a folder that a merge made, with the jobs in it


@dataclass(frozen=True)
class Merge:
    """The records of several runs, each job once, and the store with the files of each.

    ``left_out`` are sentences on records that the runs themselves leave out.
    """

    folders: tuple[Path, ...]
    records: Mapping[str, JobRecord]
    stores: Mapping[str, RecordStore]
    left_out: tuple[str, ...]


def plan_merge(folders: Sequence[Path]) -> Merge:
    """Read the runs in ``folders``; of a job with one result in several, the first is taken.

    Raises BenchError for a folder without records, a file that is damaged, and for jobs whose
    results in two folders differ: all of them are named.
    """
    records: dict[str, JobRecord] = {}
    stores: dict[str, RecordStore] = {}
    left_out: list[str] = []
    collisions: list[str] = []
    for folder in folders:
        store = RecordStore(folder)
        found, sentences = current(store)
        if not found:
            raise BenchError(f"{folder} has no records: give the folder of a run, with records/")
        left_out += sentences
        for record in found:
            if damage := store.damage(record):
                raise BenchError(f"{damage[0]}: run its suite again")
            known = records.setdefault(record.job, record)
            first = stores.setdefault(record.job, store)
            if not same_result(known, record):
                collisions.append(f"{record.job} (in {first.folder} and {folder})")
    if collisions:
        raise BenchError(
            f"{len(collisions)} jobs have different results: {', '.join(collisions)}; remove one "
            "of the records of each"
        )
    jobs = sorted(records)
    every = {job: records[job] for job in jobs}
    return Merge(tuple(folders), every, stores, tuple(dict.fromkeys(left_out)))


def write_merge(merge: Merge, out: Path, *, samples: bool = False) -> None:
    """Write records, allocations and traces, and with ``samples`` images, into ``out``.

    ``out`` is empty, or made by a merge whose jobs are all in this one with the same results. It is
    replaced as a whole, when everything has been copied. Raises BenchError for another folder,
    NotWritable where it cannot be written.
    """
    _check_target(merge, out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name[:40]}-") as folder:
            made = Path(folder) / "made"
            for job, store in merge.stores.items():
                _copy(job, store, RecordStore(made), samples)
            content = {"runs": [str(each) for each in merge.folders], "jobs": [*merge.records]}
            write_atomic(made / FILE, (json.dumps(content, indent=1) + "\n").encode())
            if out.is_dir():
                out.replace(Path(folder) / "before")
            made.replace(out)
    except OSError as error:
        raise NotWritable(f"{out} cannot be written: {reason_of(error)}") from None


def write_parquet(records: Iterable[JobRecord], path: Path) -> None:
    """Write one row for each record as Parquet: the columns of ``records_frame``.

    Settings and counts are JSON, environments are words. Raises NotWritable.
    """
    frame = records_frame(records)
    write_table(path, frame.map(_flat, na_action="ignore"))


def _flat(value: Any) -> Any:
    if isinstance(value, MeasuringEnvironment):
        return value.text()
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return list(value) if isinstance(value, tuple) else value


def _check_target(merge: Merge, out: Path) -> None:
    if any(out.resolve() == folder.resolve() for folder in merge.folders):
        raise BenchError(f"{out} is one of the runs to merge: give another folder with --out")
    if out.exists() and not out.is_dir():
        raise BenchError(f"{out} is a file: give a folder with --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / FILE).is_file():
        raise BenchError(f"{out} is neither empty nor made by a merge: give another --out")
    for record in RecordStore(out).read_all():
        known = merge.records.get(record.job)
        if known is None or not same_result(known, record):
            raise BenchError(
                f"{out} has job '{record.job}', and these runs do not have it with that result: "
                "give all runs that were merged before, or another --out"
            )


def _copy(job: str, store: RecordStore, made: RecordStore, samples: bool) -> None:
    pairs = [(store.record_path(job), made.record_path(job))]
    pairs.append((store.allocation_path(job), made.allocation_path(job)))
    pairs += [(path, made.folder / "traces" / path.name) for path in store.traces(job)]
    if samples:
        folder = made.samples_path(job)
        pairs += [(p, folder / p.name) for p in sorted(store.samples_path(job).glob("*"))]
    for source, target in pairs:
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
