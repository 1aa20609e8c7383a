"""One job: load, calibrate, search, quantize, tune, correct, sample and score."""

import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from ..core.errors import ANY_ERROR, BenchError, Diverged, Infeasible, NotWritable, reason_of
from ..core.files import digest_of_file, write_atomic
from ..core.suite import Job
from ..core.terminal import echo
from ..records.provenance import collect
from ..records.schema import AllocationSummary, Costs, JobRecord, Metric, Score, Status
from ..records.store import file_text
from . import stages
from .context import JobContext, calibrate
from .correct import correct
from .fingerprints import fingerprint, ranking_fingerprint, recipe_digest
from .guard import Guard, Stages, changed_model, lost_state
from .meter import Meter
from .resources import Session
from .samples import samples_of
from .search_stage import find_allocation
from .sharing import Sharing


@dataclass
class PartialResult:
    """The results of a job so far: a job that ends early keeps what it has."""

    meter: Meter
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: Status = "done"
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    allocation: AllocationSummary | None = None
    costs: Costs | None = None
    search_evals: float = 0.0
    scores: dict[Metric, Score] = field(default_factory=dict)
    ranking: str | None = None

    def fail(self, reason: str) -> None:
        """Fail, also beside another reason."""
        before = "" if self.status == "done" else f"{self.reason}; "
        self.status, self.reason = "failed", f"{before}{reason}"


def run_job(job: Job, session: Session) -> JobRecord:
    """Run ``job`` and write its record, however the job ends.

    A plugin may raise anything; the job is then ``failed`` and its traceback is in ``logs/``.
    So is a job whose plugin changed the process or the model, both of which are restored. Raises
    BenchError where something could not be restored: no job may run after that. Raises NotWritable
    where the disk takes no more files.
    """
    resources = session.resources
    result = PartialResult(Meter(job.device), ranking=ranking_fingerprint(job, resources))
    resources.loader.watch(job.model, job.protocol)
    guard = Guard(resources.patches)
    try:
        with result.meter.watch(), guard:
            _run(job, session, result, guard)
    except NotWritable:
        raise
    except Infeasible as error:
        result.status, result.reason = "infeasible", str(error)
    except Diverged as error:
        result.status, result.reason = "diverged", str(error)
    except ANY_ERROR as error:
        result.status, result.reason = "failed", reason_of(error)
        log = session.store.folder / "logs" / f"{job.id}.log"
        write_atomic(log, traceback.format_exc().encode())
    result.notes += guard.notes
    if guard.changed and guard.changed[0] not in result.reason:
        result.fail(guard.sentence(guard.changed))
    changed = resources.loader.changes()
    if changed:
        result.fail(changed_model(changed))
    record = _record(job, session, result)
    if guard.lost:
        raise BenchError(lost_state(job.recipe.name, guard))
    return record


def skip_job(job: Job, session: Session, reason: str) -> JobRecord:
    """Write the record of a job that is not run: no row is ever missing."""
    return _record(job, session, PartialResult(Meter(job.device), status="skipped", reason=reason))


def fail_job(job: Job, session: Session, reason: str) -> JobRecord:
    """Write the record of a job that ended the process that ran it."""
    return _record(job, session, PartialResult(Meter(job.device), status="failed", reason=reason))


def has_samples(job: Job, session: Session) -> bool:
    """Return whether all images of ``job`` are there."""
    return samples_of(job, session).holds(job.protocol.images)


def _run(job: Job, session: Session, result: PartialResult, guard: Guard) -> None:
    """Run the stages of a job in order and put their results into ``result``."""
    meter, stage = result.meter, Stages(result.meter, guard)
    with stage.named("load"):
        context = JobContext.open(job, session.resources)
        result.notes += stages.scoring_notes(context)
        samples, sharing = samples_of(job, session), Sharing.of(session.store, job.id)
        sharing.withdraw()
        if session.fresh:
            samples.clear()
    with stage.fitted("calibrate"):  # everything that needs the model in full precision
        context = calibrate(context)
        held_out = None if job.is_reference else context.measured.held_out
    with stage.named("calibrate"):
        data = stages.record_data(context, fresh=session.fresh)
    with stage.fitted("search"):
        search = find_allocation(context, fresh=session.fresh, check=guard.check)
        search.write(session.store, job.id)
    meter.add("search", search.cached_seconds)
    result.search_evals = search.spent
    result.notes += search.notes
    with stage.fitted("quantize"):
        quantized = stages.quantize(context, search.allocation)
    with quantized:
        if data is not None:
            with stage.named("tune"):
                curve = stages.tune(context, quantized, data)
                curve.write(session.store.trace_path(job.id, "tuning"))
        if held_out is not None:
            result.scores |= stages.held_out_error(context, held_out)
        with stage.fitted("correct"):
            corrections = correct(context, quantized, fresh=session.fresh)
        report = stages.count_cost(context, search.allocation, quantized)
        result.costs = stages.costs_of(context, report)
        result.allocation = stages.summary_of(search.allocation, report)
        with stage.named("sample"):
            sampler = stages.sampler_of(context, corrections)
            told = partial(session.resources.offered, session.store.folder, job)
            offer = sharing.offer(samples.fingerprint, search.allocation, sampler, told)
            result.notes += stages.sample(
                context, samples, sampler, offer if stages.is_kept(context, data) else None
            )
    with stage.named("score"):
        if held_out is not None:
            reference = samples_of(job.reference, session)
            lpips = session.resources.loader.lpips(job.protocol)
            result.scores |= stages.fidelity(samples, reference, job.protocol.images, lpips)
        result.scores |= stages.distribution(context, samples)
        result.scores |= stages.prompt_agreement(context, samples)


def _files(job: Job, session: Session) -> dict[str, str]:
    """Return the digests of the allocation, the traces and the samples of a job that is done."""
    store, samples = session.store, samples_of(job, session)
    paths = [store.allocation_path(job.id), *store.traces(job.id)]
    found = {path: digest_of_file(path) for path in paths}
    found |= {samples.folder / name: d for name, d in samples.digests(job.protocol.images).items()}
    return {path.relative_to(store.folder).as_posix(): str(d) for path, d in found.items()}


def _record(job: Job, session: Session, result: PartialResult) -> JobRecord:
    """Write the record of ``result``."""
    record = JobRecord(
        job=job.id,
        fingerprint=fingerprint(job, session.resources),
        metric_fingerprint=result.ranking,
        status=result.status,
        reason=result.reason,
        notes=tuple(dict.fromkeys(result.notes)),
        model=job.model,
        method=job.recipe.name,
        budget=str(job.budget),
        seed=job.seed,
        format="" if job.is_reference else job.recipe.format_class,
        realization=job.realization,
        recipe=job.recipe.model_dump(mode="json"),
        recipe_digest=recipe_digest(job.recipe, session.registry),
        model_digest=session.resources.loader.model(job.model, job.protocol).digest,
        protocol=job.protocol.model_dump(mode="json"),
        allocation=result.allocation,
        extractor=session.resources.loader.extractor(job.protocol),
        n_images=job.protocol.images if result.status == "done" else 0,
        scores=result.scores,
        costs=result.costs,
        search_evals=result.search_evals,
        seconds=result.meter.seconds,
        peak_mb=result.meter.peak_mb,
        files=_files(job, session) if result.status == "done" else {},
        provenance=collect(result.started, session.device),
    )
    try:
        session.store.write(record)
    except NotWritable as error:
        echo(file_text(record).rstrip())
        raise NotWritable(
            f"{error}: the record of job '{job.id}' is printed above; make room, save the record "
            "under that name, or run the same command again"
        ) from None
    return record
