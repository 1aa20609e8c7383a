"""Several runs merged into one folder, or into one table."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..core.errors import BenchError, NotWritable
from ..core.files import reason_of, write_atomic, write_table
from .environment import MeasuringEnvironment
from .frame import records_frame
from .runs import Runs, same_result
from .schema import JobRecord
from .store import RecordStore

FILE = "merged.json"  # marks a folder that a merge made, with the jobs in it


def write_merge(runs: Runs, out: Path, *, samples: bool = False) -> None:
    """Write records, allocations and traces, and with ``samples`` images, into ``out``.

    ``out`` is empty, or made by a merge whose jobs are all in this one with the same results. It is
    replaced as a whole, when everything has been copied. Raises BenchError for another folder and
    for a file that is damaged, NotWritable where ``out`` cannot be written.
    """
    _check_target(runs, out)
    for record in runs.records:
        if damage := runs.store(record.job).damage(record):
            raise BenchError(f"{damage[0]}: run its suite again")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name[:40]}-") as folder:
            made = Path(folder) / "made"
            for job, store in runs.stores.items():
                _copy(job, store, RecordStore(made), samples)
            content = {"runs": [str(each) for each in runs.folders], "jobs": [*runs.stores]}
            write_atomic(made / FILE, (json.dumps(content, indent=1) + "\n").encode())
            _replace(out, made, Path(folder) / "before")
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


def _check_target(runs: Runs, out: Path) -> None:
    if any(out.resolve() == folder.resolve() for folder in runs.folders):
        raise BenchError(f"{out} is one of the runs to merge: give another folder with --out")
    if out.exists() and not out.is_dir():
        raise BenchError(f"{out} is a file: give a folder with --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / FILE).is_file():
        raise BenchError(f"{out} is neither empty nor made by a merge: give another --out")
    records = {record.job: record for record in runs.records}
    for record in RecordStore(out).read_all():
        known = records.get(record.job)
        if known is None or not same_result(known, record):
            raise BenchError(
                f"{out} has job '{record.job}', and these runs do not have it with that result: "
                "give all runs that were merged before, or another --out"
            )


def _replace(out: Path, made: Path, aside: Path) -> None:
    """Put ``made`` in the place of ``out``, which goes back there if that fails."""
    if not out.is_dir():
        made.replace(out)
        return
    out.replace(aside)
    try:
        made.replace(out)
    except OSError:
        aside.replace(out)
        raise


def _copy(job: str, store: RecordStore, made: RecordStore, samples: bool) -> None:
    pairs = [(store.record_path(job), made.record_path(job))]
    pairs.append((store.allocation_path(job), made.allocation_path(job)))
    pairs += [(path, made.folder / "traces" / path.name) for path in store.traces(job)]
    if samples:
        folder = made.samples_path(job)
        kept = store.samples_path(job)  # in which there may be other files of the user
        paths = [*sorted(kept.glob("shard-*")), kept / "fingerprint.json"]
        pairs += [(path, folder / path.name) for path in paths]
    for source, target in pairs:
        if source.is_symlink():
            raise BenchError(f"{source} is a link: put the file itself there")
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
