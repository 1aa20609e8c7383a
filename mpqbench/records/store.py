"""The folder of one run: ``records/``, ``allocations/`` and ``samples/``, written atomically."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import BenchError
from ..core.files import write_atomic
from ..core.settings import validate
from .schema import JOB_PATTERN, SCHEMA_VERSION, JobRecord

_REMEDY = "delete the file and run the job again"


class RecordStore:
    """Records, allocations and samples of one run under ``folder`` (``runs/SUITE``).

    Making a store touches nothing; folders appear with the first file. Every method that takes a
    job raises BenchError if its id is not a safe file name.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def check_writable(self) -> None:
        """Raise BenchError if ``folder`` cannot be made or written to."""
        existing = next(p for p in (self.folder, *self.folder.absolute().parents) if p.exists())
        if not existing.is_dir():
            raise BenchError(f"results cannot go into {self.folder}: {existing} is a file")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise BenchError(f"results cannot go into {self.folder}: {existing} is not writable")

    def record_path(self, job: str) -> Path:
        """Return ``records/JOB.json``."""
        return self.folder / "records" / f"{_safe(job)}.json"

    def allocation_path(self, job: str) -> Path:
        """Return ``allocations/JOB.json``."""
        return self.folder / "allocations" / f"{_safe(job)}.json"

    def trace_path(self, job: str, table: str = "") -> Path:
        """Return ``traces/JOB.parquet`` (scorings of a search) or ``traces/JOB.TABLE.parquet``."""
        part = f".{_safe(table)}" if table else ""
        return self.folder / "traces" / f"{_safe(job)}{part}.parquet"

    def clear_traces(self, job: str) -> None:
        """Remove the trace and tables of an earlier search of ``job``."""
        first = self.trace_path(job)
        for path in [first, *first.parent.glob(f"{job}.*.parquet")]:
            path.unlink(missing_ok=True)

    def samples_path(self, job: str) -> Path:
        """Return the folder ``samples/JOB``."""
        return self.folder / "samples" / _safe(job)

    def write(self, record: JobRecord) -> Path:
        """Write the record over an older one of the same job; return its path."""
        path = self.record_path(record.job)
        write_atomic(path, record.to_json().encode())
        return path

    def read(self, job: str) -> JobRecord:
        """Return the record of ``job``. Raises BenchError if it is missing, corrupt or foreign."""
        return _read_record(self.record_path(job))

    def read_all(self) -> list[JobRecord]:
        """Return all records by job. Raises BenchError at the first corrupt or foreign file."""
        paths = sorted((self.folder / "records").glob("*.json"), key=lambda path: path.stem)
        return [_read_record(path) for path in paths]

    def done(self, job: str, fingerprint: str) -> bool:
        """Return whether ``job`` is done under this fingerprint, so that it need not run again."""
        record = self.read(job) if self.record_path(job).is_file() else None
        return record is not None and (record.status, record.fingerprint) == ("done", fingerprint)

    def write_allocation(self, job: str, allocation: Mapping[str, Any]) -> Path:
        """Write ``{group: "W4A4"}`` in network order; return its path."""
        path = self.allocation_path(job)
        text = json.dumps(dict(allocation), indent=2, allow_nan=False) + "\n"
        write_atomic(path, text.encode())
        return path

    def read_allocation(self, job: str) -> dict[str, str]:
        """Return what ``write_allocation`` wrote. Raises BenchError if it is missing or corrupt."""
        return read_object(self.allocation_path(job))

    def has_samples(self, job: str) -> bool:
        """Return whether any image of ``job`` was kept."""
        return any(self.samples_path(job).glob("shard-*.npz"))


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file. Raises BenchError if it is missing or damaged."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number of JSON")

    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except FileNotFoundError:
        raise BenchError(f"{path} does not exist: run the job first") from None
    except (ValueError, OSError) as error:
        raise BenchError(f"{path} is corrupt ({error}): {_REMEDY}") from None
    if not isinstance(data, dict):
        raise BenchError(f"{path} is corrupt (no JSON object): {_REMEDY}")
    return data


def _safe(job: str) -> str:
    if not re.fullmatch(JOB_PATTERN, job):
        raise BenchError(f"job '{job}' is no safe file name: use letters, digits and + . _ -")
    return job


def _read_record(path: Path) -> JobRecord:
    data = read_object(path)
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BenchError(
            f"{path} has schema version {version}, this mpqbench reads {SCHEMA_VERSION}: "
            "read it with the mpqbench that wrote it, or " + _REMEDY
        )
    try:
        record = validate(JobRecord, data, str(path))
    except BenchError as error:
        raise BenchError(f"{error}; {_REMEDY}") from None
    if record.job != path.stem:
        raise BenchError(f"{path} holds job '{record.job}': rename or delete the file")
    return record
