"""The jobs of a suite, shared with other processes on the same folder of results."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..core.claims import FOLDER, Claims, Holder
from ..core.errors import BenchError
from ..core.files import digest_of_file
from ..core.suite import Job
from ..job.helping import help_sample, shards_for_each
from ..job.resources import Session
from ..job.run import fail_job, has_samples, run_job, skip_job
from ..records.schema import JobRecord
from .kept import is_whole, set_aside_other

POLL_SECONDS = 1.0


def place_of(job: Job) -> str:
    """Return the seed of a job, and its realization where that is not the first, for progress."""
    return f"seed {job.seed}" + (f" realization {job.realization}" if job.realization else "")


@dataclass
class SharedJobs:
    """Jobs that are run one after the other, but for those that other processes run or have run.

    ``fingerprints`` are those of the jobs by id. The record of another process counts, however its
    job ended, where it was written after this object was made or in the same campaign;
    an older one counts where it is done.
    """

    jobs: Sequence[Job]
    session: Session
    fingerprints: Mapping[str, str]
    records: dict[str, JobRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._claims = Claims(self.session.store.folder / FOLDER)
        self._before = {job.id: self._digest(job) for job in self.jobs}
        self._told: dict[str, Holder] = {}
        self._refused: set[str] = set()  # tokens of claims of jobs that cannot be helped
        self._looked: dict[str, tuple[str | None, bool]] = {}
        self._titles = {}
        for number, job in enumerate(self.jobs, 1):
            parts = (job.model, job.recipe.name, str(job.budget), job.format_class)
            title = f"[{number}/{len(self.jobs)}] {' '.join(filter(None, parts))} {place_of(job)}"
            self._titles[job.id] = title

    def run(self, jobs: Sequence[Job] | None = None) -> list[JobRecord]:
        """Run what is not done of ``jobs``, which are all by default; return the records in order.

        What others run is waited for. Jobs go behind the full precision that they need.
        """
        wanted = self.jobs if jobs is None else jobs
        left, waits = [job for job in wanted if job.id not in self.records], False
        while left:
            behind = [job for job in left if not self._turn(job)]
            if len(behind) == len(left) and not self.help(left):
                if not waits:
                    self._say_waiting()
                waits = True
                time.sleep(POLL_SECONDS)
            else:
                waits = False
            left = behind
        return [self.records[job.id] for job in wanted]

    def help(self, jobs: Sequence[Job]) -> bool:
        """Make shards of that of ``jobs`` which others run and which has most for each process.

        Returns whether any was made. Why no more of a job can be made is said once.
        """
        holders, session, offered = self._claims.holders(), self.session, []
        for job in jobs:
            holder = holders.get(job.id)
            if holder is not None and holder.token not in self._refused and not holder.is_here:
                offered.append((shards_for_each(job, session, holder), job, holder))
        for shards, job, holder in sorted(offered, key=lambda each: -each[0]):
            if not shards:
                break
            helped = help_sample(job, session, holder)
            if helped.reason:
                self._refused.add(holder.token)
                session.reporter.say(f"{self._titles[job.id]}: cannot help: {helped.reason}")
            if helped.shards:
                what = f"{helped.shards} shard{'s' if helped.shards > 1 else ''}"
                session.reporter.say(f"{self._titles[job.id]}: made {what} for {holder}")
                return True
        return False

    def _turn(self, job: Job) -> bool:
        """Return whether there is a record of ``job``, which is run unless another process does."""
        reference = None if job.is_reference else job.reference.id
        if reference in self.fingerprints and reference not in self.records:
            return False  # the process that runs full precision has not finished
        if self._is_kept(job):
            return True
        with self._claims.hold(job.id, self.fingerprints[job.id]) as holder:
            if holder is not None:
                self._tell(job, holder)
                return False
            if self._is_kept(job):  # it may have ended just before
                return True
            reason = self._claims.reason_of(job.id, self.session.campaign)
            return self._fail(job, reason) if reason else self._run(job)

    def _is_kept(self, job: Job) -> bool:
        """Take the record of ``job`` where it is done before, or by another process.

        A record that was looked at before in vain is not looked at again.
        """
        session, campaign = self.session, self.session.campaign
        tried = bool(campaign) and self._claims.was_tried(job.id, campaign)
        state = self._digest(job), tried
        if self._looked.get(job.id) == state:
            return False
        self._looked[job.id] = state
        by_another = tried or state[0] != self._before[job.id]
        try:
            record = session.store.read(job.id)
        except BenchError:  # there is none, or it was damaged
            return False
        if by_another and record.status != "done":
            kept = record.fingerprint == self.fingerprints[job.id]
        else:
            kept = by_another or not session.fresh
            kept = kept and session.store.done(job.id, self.fingerprints[job.id])
            kept = kept and is_whole(job, session)
        if kept:
            self.records[job.id] = record
            who = f"{record.status} by another process" if by_another else "done before"
            say = session.reporter.say_other if by_another else session.reporter.say
            say(f"{self._titles[job.id]}: {who}{_reason(record)}")
        return kept

    def _run(self, job: Job) -> bool:
        """Run ``job``, whose claim is held. Returns whether it was, as ``_turn``."""
        session, title = self.session, self._titles[job.id]
        reference = None if job.is_reference else self.records.get(job.reference.id)
        if reference is not None and reference.status == "done":
            reference = self._sampled(job.reference, reference)
            if reference is None:
                return False
        session.reporter.say(title)
        set_aside_other(job, session)
        if reference is None or reference.status == "done":
            record = run_job(job, session)
        else:
            record = skip_job(job, session, f"full precision is {reference.status}")
        if session.campaign:
            self._claims.note(job.id, session.campaign)
        if record.status != "done":
            session.reporter.say(f"{title}: {record.status}{_reason(record)}")
        self.records[job.id] = record
        return True

    def _fail(self, job: Job, reason: str) -> bool:
        """Write the record of a job that ended the processes that ran it."""
        self.records[job.id] = fail_job(job, self.session, reason)
        self._claims.note(job.id, self.session.campaign)
        self.session.reporter.say(f"{self._titles[job.id]}: failed: {reason}")
        return True

    def _sampled(self, job: Job, record: JobRecord) -> JobRecord | None:
        """Return the record of a full-precision job with its samples, which jobs are paired with.

        They are sampled again where they are gone, as after a folder was cleared of them;
        ``None`` where another process does that.
        """
        if has_samples(job, self.session):
            return record
        with self._claims.hold(job.id, self.fingerprints[job.id]) as holder:
            if holder is not None:
                self._tell(job, holder)
                return None
            self.session.reporter.say("  full precision has lost its samples: sampling them again")
            self.records[job.id] = run_job(job, replace(self.session, fresh=False))
        return self.records[job.id]

    def _tell(self, job: Job, holder: Holder) -> None:
        """Say once who runs ``job``. Raises BenchError where that is another job of this name."""
        if holder.fingerprint not in ("", self.fingerprints[job.id]):
            raise BenchError(
                f"{holder} runs job '{job.id}' in {self.session.store.folder} with other settings, "
                "plugins or code: wait until it has ended, or give another folder with --out"
            )
        if self._told.get(job.id) != holder:
            self.session.reporter.say_other(f"{self._titles[job.id]}: run by {holder}")
        self._told[job.id] = holder

    def _say_waiting(self) -> None:
        """Say which jobs of other processes are waited for."""
        holders = self._claims.holders()
        found = [f"{job} ({holders[job]})" for job in self.fingerprints if job in holders]
        if found:
            self.session.reporter.say_other(f"waiting for {', '.join(found)}")

    def _digest(self, job: Job) -> str | None:
        return digest_of_file(self.session.store.record_path(job.id))


def _reason(record: JobRecord) -> str:
    return f": {record.reason}" if record.reason else ""
