"""The folder of one run: ``records/``, ``allocations/`` and ``samples/``, written atomically."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import BenchError, NotWritable
from ..core.files import check_writable, digest_of_file, reason_of, remove_unfinished, write_atomic
from ..core.precision import Allocation
from ..core.settings import is_whole, sealed, validate
from .schema import JOB_PATTERN, SCHEMA_VERSION, JobRecord

_REMEDY = "run its suite again, or delete the file"
_PARTS = ("records", "allocations", "traces", "samples", "logs", "cache", "claims")
_PROTOCOL = re.compile(r"__p[0-9a-f]{6}$")  # the last part of a job's id


class RecordStore:
    """Records, allocations and samples of one run under ``folder`` (``runs/SUITE``).

    Making a store touches nothing; folders appear with the first file. Every method that takes a
    job raises BenchError if its id is not a safe file name.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def check_writable(self) -> None:
        """Raise NotWritable if ``folder`` or a folder in it cannot be made or written to."""
        check_writable(self.folder)
        for part in _PARTS:
            check_writable(self.folder / part)

    def remove_unfinished(self) -> list[Path]:
        """Remove what killed writes left in ``folder`` and its parts; return the paths."""
        below = (p for part in _PARTS for p in (self.folder / part).rglob("*") if p.is_dir())
        parts = [self.folder / part for part in (*_PARTS, "regret", "figures")]
        return remove_unfinished([self.folder, *parts, *below])

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

    def traces(self, job: str) -> list[Path]:
        """Return the trace and all tables of a search of ``job`` that are there."""
        first = self.trace_path(job)
        return [p for p in [first, *sorted(first.parent.glob(f"{job}.*.parquet"))] if p.is_file()]

    def clear_traces(self, job: str) -> None:
        """Remove the trace and tables of an earlier search of ``job``."""
        for path in self.traces(job):
            path.unlink(missing_ok=True)

    def samples_path(self, job: str) -> Path:
        """Return the folder ``samples/JOB``."""
        return self.folder / "samples" / _safe(job)

    def other_samples(self, job: str) -> list[Path]:
        """Return the folders of samples of the same job under other protocols."""
        own, stem = self.samples_path(job), _PROTOCOL.sub("", job)
        folders = sorted(own.parent.glob(f"{stem}*"))
        return [f for f in folders if f != own and _PROTOCOL.sub("", f.name) == stem]

    def write(self, record: JobRecord) -> Path:
        """Write the record over an older one of the same job; return its path.

        A record of the same protocol by a name without it, as older versions gave, is set aside.
        """
        path = self.record_path(record.job)
        write_atomic(path, file_text(record).encode())
        old = self.record_path(_PROTOCOL.sub("", record.job))
        if old != path and old.is_file():
            known = dict(read_object(old).get("protocol", {}))
            if known | {"name": ""} == dict(record.protocol) | {"name": ""}:
                self.set_aside(old.stem)
        return path

    def set_aside(self, job: str) -> Path:
        """Move the record of ``job`` to ``replaced/JOB.DIGEST.json``; return that path."""
        path = self.record_path(job)
        aside = self.folder / "replaced" / f"{job}.{digest_of_file(path)}.json"
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.replace(aside)
        except FileNotFoundError:  # another process on this folder was faster
            pass
        except OSError as error:
            raise NotWritable(f"{path} cannot be moved to {aside}: {reason_of(error)}") from None
        return aside

    def read(self, job: str) -> JobRecord:
        """Return the record of ``job``.

        Raises BenchError if it is missing, corrupt, foreign, or another than was written.
        """
        return read_record(self.record_path(job))

    def read_all(self) -> list[JobRecord]:
        """Return all records by job. Raises BenchError at the first that ``read`` refuses."""
        return [read_record(path) for path in self.paths()]

    def paths(self) -> list[Path]:
        """Return the files of all records by job; hidden files are none, as editors leave them."""
        paths = (self.folder / "records").glob("*.json")
        return sorted((p for p in paths if not p.name.startswith(".")), key=lambda path: path.stem)

    def done(self, job: str, fingerprint: str) -> bool:
        """Return whether ``job`` is done under this fingerprint, so that it need not run again.

        A record that cannot be read is not done, nor is one without a checksum, which may be
        another than was written.
        """
        try:
            record, content = self.read(job), read_object(self.record_path(job))
        except BenchError:
            return False
        state = record.status, record.fingerprint
        return "checksum" in content and state == ("done", fingerprint)

    def damage(self, record: JobRecord) -> list[str]:
        """Return the files beside ``record`` that are not what its job left, as sentences.

        What is gone as a whole, such as all of its samples, was removed on purpose.
        """
        found, sampled = [], self.has_samples(record.job)
        for name, digest in record.files.items():
            path = self.folder / name
            if path.exists():
                found += [] if digest_of_file(path) == digest else [f"{path} is damaged"]
            elif path.parent == self.samples_path(record.job) and sampled:
                found.append(f"{path} is missing")
        return found

    def check_file(self, job: str, path: Path) -> None:
        """Raise BenchError if the record of ``job`` has another digest of the file ``path``."""
        record = self.record_path(job)
        known = read_object(record).get("files", {}) if record.is_file() else {}
        digest = known.get(path.relative_to(self.folder).as_posix())
        if digest is not None and digest != digest_of_file(path):
            raise BenchError(f"{path} is damaged or missing: run its suite again")

    def write_allocation(self, job: str, allocation: Mapping[str, Any]) -> Path:
        """Write ``{group: "W4A4"}`` in network order; return its path."""
        path = self.allocation_path(job)
        text = json.dumps(dict(allocation), indent=2, allow_nan=False) + "\n"
        write_atomic(path, text.encode())
        return path

    def read_allocation(self, job: str) -> dict[str, str]:
        """Return what ``write_allocation`` wrote. Raises BenchError if it is missing or damaged."""
        path = self.allocation_path(job)
        self.check_file(job, path)
        content = read_object(path)
        try:
            Allocation.from_json(content)
        except BenchError as error:
            raise BenchError(f"{path} is no allocation: {error}; {_REMEDY}") from None
        return content

    def has_samples(self, job: str) -> bool:
        """Return whether any image of ``job`` was kept."""
        return any(self.samples_path(job).glob("shard-*.npz"))


def file_text(record: JobRecord) -> str:
    """Return the text of the file of a record: its JSON with a ``checksum`` of all else in it.

    The text is ASCII, so that the text can be copied from any terminal.
    """
    content = sealed(record.model_dump(mode="json"))
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_sealed(path: Path) -> dict[str, Any]:
    """Return what was ``sealed`` into a file, as ``read_object``; a changed one is refused."""
    data = read_object(path)
    if not is_whole(data):
        raise BenchError(
            f"{path} was changed after it was written, as its checksum shows: {_REMEDY}"
        )
    return {key: value for key, value in data.items() if key != "checksum"}


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file. Raises BenchError if it is missing or damaged."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number of JSON")

    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text, parse_constant=refuse)
        if "\\u" in text:
            json.dumps(data, ensure_ascii=False).encode()  # no half of a pair, as in "\\ud800"
    except FileNotFoundError:
        raise BenchError(f"{path} does not exist: run the job first") from None
    except (ValueError, OSError, RecursionError) as error:
        raise BenchError(f"{path} is corrupt ({error}): {_REMEDY}") from None
    if not isinstance(data, dict):
        raise BenchError(f"{path} is corrupt (no JSON object): {_REMEDY}")
    return data


def _safe(job: str) -> str:
    if not re.fullmatch(JOB_PATTERN, job):
        raise BenchError(f"job '{job}' is no safe file name: use letters, digits and + . _ -")
    return job


def read_record(path: Path) -> JobRecord:
    """Return a record from its file. Raises BenchError as ``RecordStore.read``."""
    data = read_object(path)
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BenchError(
            f"{path} has schema version {version}, this mpqbench reads {SCHEMA_VERSION}: "
            "read it with the mpqbench that wrote it, or " + _REMEDY
        )
    data = read_sealed(path)
    try:
        record = validate(JobRecord, data, str(path))
    except BenchError as error:
        raise BenchError(f"{error}; {_REMEDY}") from None
    if record.job != path.stem:
        raise BenchError(f"{path} holds job '{record.job}': rename or delete the file")
    return record
