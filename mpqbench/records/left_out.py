"""Records in the folder of a run that its suite no longer has: kept, but not in its tables."""

import json
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from ..core.files import write_atomic
from ..core.settings import sealed, validate
from .schema import JobRecord
from .store import RecordStore, read_sealed

FILE = "left-out.json"


class LeftOut(BaseModel):
    """Why the record of a job with this fingerprint is not in the tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fingerprint: str
    reason: str


class LeftOutFile(BaseModel):
    """What is left out, by job."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    jobs: dict[str, LeftOut]


def write_left_out(store: RecordStore, found: Mapping[str, LeftOut]) -> None:
    """Write ``left-out.json``, or remove that of an earlier run where nothing is left out."""
    path = store.folder / FILE
    if found:
        content = sealed(LeftOutFile(jobs=dict(found)).model_dump(mode="json"))
        text = json.dumps(content, indent=2) + "\n"
        write_atomic(path, text.encode())
    else:
        path.unlink(missing_ok=True)


def current(store: RecordStore) -> tuple[list[JobRecord], list[str]]:
    """Return the records of the suite that was run last, and sentences on those left out.

    Raises BenchError where a file cannot be read.
    """
    path, records = store.folder / FILE, store.read_all()
    if not path.is_file():
        return records, []
    out = validate(LeftOutFile, read_sealed(path), str(path)).jobs
    kept, jobs = [], dict[str, list[str]]()
    for record in records:
        known = out.get(record.job)
        if known is not None and known.fingerprint == record.fingerprint:
            jobs.setdefault(known.reason, []).append(record.job)
        else:
            kept.append(record)
    return kept, [f"{', '.join(names)}: {reason}" for reason, names in jobs.items()]
