"""``jobs.json``: the jobs of the command that was last started on a folder, for ``status``."""

import json
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, JsonValue

from ..core.errors import BenchError
from ..core.files import write_atomic
from ..core.settings import sealed, validate
from ..core.suite import Job
from ..job.fingerprints import samples_fingerprint
from ..job.resources import Session
from ..records.store import RecordStore, read_sealed

FILE = "jobs.json"


class PlannedJob(BaseModel):
    """A job with the fingerprint that its record will have, in the words of its row.

    ``samples`` is the fingerprint of its samples and ``protocol`` how they are made and measured;
    both are empty in files of older versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    job: str
    fingerprint: str
    model: str
    method: str
    budget: str
    format: str
    seed: int
    realization: int
    samples: str = ""
    protocol: dict[str, JsonValue] = {}


class PlannedJobs(BaseModel):
    """All jobs, in the order in which they are run."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    jobs: tuple[PlannedJob, ...]


def write_planned(jobs: Sequence[Job], fingerprints: Mapping[str, str], session: Session) -> None:
    """Write ``jobs.json`` in place of that of an earlier command."""
    planned = [
        PlannedJob(
            job=job.id,
            fingerprint=fingerprints[job.id],
            model=job.model,
            method=job.recipe.name,
            budget=str(job.budget),
            format=job.format_class,
            seed=job.seed,
            realization=job.realization,
            samples=samples_fingerprint(job, session.resources),
            protocol=job.protocol.model_dump(mode="json"),
        )
        for job in jobs
    ]
    content = sealed({"jobs": [each.model_dump() for each in planned]})
    write_atomic(session.store.folder / FILE, (json.dumps(content, indent=2) + "\n").encode())


def read_planned(store: RecordStore) -> tuple[PlannedJob, ...]:
    """Return the jobs of ``jobs.json``. Raises BenchError where it is missing or damaged."""
    path = store.folder / FILE
    if not path.is_file():
        raise BenchError(f"{path} is missing: give the folder of a run that was begun")
    return validate(PlannedJobs, read_sealed(path), str(path)).jobs
