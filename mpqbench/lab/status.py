"""The status of a run: which of its jobs are done, running, failed and left, and for how long."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from ..core.claims import FOLDER, Claims, Holder
from ..core.errors import BenchError
from ..job.sharing import Sharing, has_file
from ..records.store import RecordStore, read_record
from .planned import FILE, PlannedJob, read_planned

RUNNING, LEFT = "running", "left"


@dataclass(frozen=True)
class JobStatus:
    """A job of a run. ``state`` is the status of its record, ``running`` or ``left``.

    ``seconds`` are those of a record, or since a running job began; ``by`` is its process.
    ``shards`` are how many shards of its samples are made, and all, where several processes may
    make them; ``helpers`` are the other processes that make one now.
    """

    planned: PlannedJob
    state: str
    reason: str = ""
    seconds: float | None = None
    by: Holder | None = None
    shards: tuple[int, int] | None = None
    helpers: tuple[Holder, ...] = ()


@dataclass(frozen=True)
class RunStatus:
    """The jobs that the command which was started last on ``folder`` has to run, in order."""

    folder: Path
    jobs: tuple[JobStatus, ...]

    @property
    def counts(self) -> dict[str, int]:
        """The number of jobs in each state that there is."""
        return dict(Counter(job.state for job in self.jobs))

    @property
    def processes(self) -> int:
        """How many processes run a job, or make shards of one."""
        running = [by for job in self.jobs for by in (job.by, *job.helpers) if by is not None]
        return len({(by.machine, by.pid) for by in running})

    @property
    def seconds_left(self) -> float | None:
        """An estimate of the seconds until all jobs are done, ``None`` before one is done.

        A job is taken to need the mean of the done jobs of its model and method, of its model where
        there is none, else of all. The jobs are divided among the processes that run, or given to
        one where none does.
        """
        left = [job for job in self.jobs if job.state in (RUNNING, LEFT)]
        if not left:
            return 0.0
        if not any(job.state == "done" for job in self.jobs):
            return None
        each = [max(0.0, self._usual(job.planned) - (job.seconds or 0.0)) for job in left]
        return max(sum(each) / max(1, self.processes), max(each))

    def _usual(self, wanted: PlannedJob) -> float:
        done = [job for job in self.jobs if job.state == "done"]
        same_model = [job for job in done if job.planned.model == wanted.model]
        same = [job for job in same_model if job.planned.method == wanted.method]
        return fmean(job.seconds or 0.0 for job in same or same_model or done)

    def as_json(self) -> dict[str, Any]:
        """Return all this as JSON has it."""
        jobs = []
        for job in self.jobs:
            facts: dict[str, Any] = {"state": job.state, "reason": job.reason}
            facts |= {"seconds": job.seconds, "shards": job.shards}
            facts |= {"by": None if job.by is None else asdict(job.by)}
            facts |= {"helpers": [asdict(helper) for helper in job.helpers]}
            jobs.append(job.planned.model_dump(exclude={"samples", "protocol"}) | facts)
        totals = {"processes": self.processes, "seconds_left": self.seconds_left}
        return {"folder": str(self.folder), "counts": self.counts, **totals, "jobs": jobs}


def status_of(folder: Path) -> RunStatus:
    """Return the status of a run, with the folders of its own that an ablation has.

    Nothing is written. Raises BenchError for a folder in which no run was begun.
    """
    own = folder / FILE
    within = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    stores = ([folder] if own.is_file() or not within else []) + within
    return RunStatus(folder, tuple(job for store in stores for job in _jobs(store)))


def _jobs(folder: Path) -> Sequence[JobStatus]:
    store = RecordStore(folder)
    holders = Claims(folder / FOLDER).holders()
    return [_status(planned, store, holders.get(planned.job)) for planned in read_planned(store)]


def _status(planned: PlannedJob, store: RecordStore, holder: Holder | None) -> JobStatus:
    if holder is not None:
        return _running(planned, store, holder)
    path = store.record_path(planned.job)
    if not path.is_file():
        return JobStatus(planned, LEFT)
    try:
        record = read_record(path)
    except BenchError as error:
        return JobStatus(planned, LEFT, str(error))
    if record.fingerprint != planned.fingerprint:
        return JobStatus(planned, LEFT, "its record is of other settings or code")
    seconds = round(sum(record.seconds.values()), 3)
    return JobStatus(planned, record.status, record.reason, seconds)


def _running(planned: PlannedJob, store: RecordStore, holder: Holder) -> JobStatus:
    """Return a job that ``holder`` runs, with its shards where it offers them to others."""
    sharing, status = Sharing.of(store, planned.job), JobStatus(planned, RUNNING, by=holder)
    status, plan = replace(status, seconds=_since(holder)), sharing.plan(holder)
    if plan is None:
        return status
    folder, held = store.samples_path(planned.job), sharing.claims.holders()
    made = sum(has_file(folder, shard) for shard in plan.shards)
    others = {(h.machine, h.pid): h for h in held.values() if h.pid != holder.pid}
    return replace(status, shards=(made, len(plan.shards)), helpers=tuple(others.values()))


def _since(holder: Holder) -> float | None:
    """Return the seconds since a job began, as far as the clocks of two machines agree."""
    try:
        began = datetime.fromisoformat(holder.since)
        return max(0.0, round((datetime.now(UTC) - began).total_seconds()))
    except (ValueError, TypeError):  # of a damaged claim
        return None
