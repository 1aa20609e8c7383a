"""One job: load, calibrate, search, quantize, tune, correct, sample and score."""

import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..core.errors import BenchError, Diverged, Infeasible
from ..core.files import write_atomic
from ..core.suite import Job
from ..records.provenance import collect
from ..records.schema import AllocationSummary, Costs, JobRecord, Metric, Score, Status
from ..tuning.student import QuantizedStudent
from . import stages
from .context import JobContext, calibrate
from .correct import correct
from .fingerprints import (
    fingerprint,
    ranking_fingerprint,
    recipe_digest,
    samples_fingerprint,
)
from .meter import Meter
from .resources import Session
from .samples import SampleStore
from .search_stage import find_allocation


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


def run_job(job: Job, session: Session) -> JobRecord:
    """Run ``job`` and write its record, however the job ends.

    A plugin may raise anything; the job is then ``failed`` and its traceback is in ``logs/``.
    """
    result = PartialResult(Meter(job.device), ranking=ranking_fingerprint(job, session.resources))
    try:
        with result.meter.watch():
            _run(job, session, result)
    except Infeasible as error:
        result.status, result.reason = "infeasible", str(error)
    except Diverged as error:
        result.status, result.reason = "diverged", str(error)
    except Exception as error:
        kind = "" if isinstance(error, BenchError) else f"{type(error).__name__}: "
        result.status, result.reason = "failed", f"{kind}{error}"
        log = session.store.folder / "logs" / f"{job.id}.log"
        write_atomic(log, traceback.format_exc().encode())
    return _record(job, session, result)


def skip_job(job: Job, session: Session, reason: str) -> JobRecord:
    """Write the record of a job that is not run: no row is ever missing."""
    return _record(job, session, PartialResult(Meter(job.device), status="skipped", reason=reason))


def has_samples(job: Job, session: Session) -> bool:
    """Return whether all images of ``job`` are there."""
    return _samples(job, session).holds(job.protocol.images)


def _run(job: Job, session: Session, result: PartialResult) -> None:
    """Run the stages of a job in order and put their results into ``result``."""
    meter = result.meter
    with meter.stage("load"):
        context = JobContext.open(job, session.resources)
        samples = _samples(job, session)
        if session.fresh:
            samples.clear()
    with meter.stage("calibrate"):  # everything that needs the model in full precision
        context = calibrate(context)
        held_out = None if job.is_reference else context.recordings.held_out
        data = stages.record_data(context, fresh=session.fresh)
    with meter.stage("search"):
        search = find_allocation(context, fresh=session.fresh)
        search.write(session.store, job.id)
    meter.add("search", search.cached_seconds)
    result.search_evals = search.spent
    with meter.stage("quantize"):
        quantized = stages.quantize(context, search.allocation)
    with quantized:
        if data is not None:
            with meter.stage("tune"):
                student = QuantizedStudent(quantized, context.groups)
                curve = context.plugins.tuner.tune(student, data)
                curve.write(session.store.trace_path(job.id, "tuning"))
        if held_out is not None:
            result.scores |= stages.held_out_error(context, held_out)
        with meter.stage("correct"):
            corrections = correct(context, quantized)
        report = stages.count_cost(context, search.allocation, quantized)
        result.costs = stages.costs_of(context, report)
        result.allocation = stages.summary_of(search.allocation, report)
        with meter.stage("sample"):
            stages.sample(context, samples, corrections)
    with meter.stage("score"):
        if held_out is not None:
            reference = _samples(job.reference, session)
            result.scores |= stages.fidelity(samples, reference, job.protocol.images)
        result.scores |= stages.distribution(context, samples)


def _samples(job: Job, session: Session) -> SampleStore:
    """Return the samples of ``job``, which depend neither on their number nor on the metrics."""
    resources = session.resources
    name = samples_fingerprint(job, resources)
    return SampleStore(session.store.samples_path(job.id), name, resources.batch_size)


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
        recipe=job.recipe.model_dump(mode="json"),
        recipe_digest=recipe_digest(job.recipe, session.registry),
        model_digest=session.resources.loader.model(job.model, job.protocol).digest,
        protocol=job.protocol.model_dump(mode="json"),
        allocation=result.allocation,
        extractor=job.protocol.features,
        n_images=job.protocol.images if result.status == "done" else 0,
        scores=result.scores,
        costs=result.costs,
        search_evals=result.search_evals,
        seconds=result.meter.seconds,
        peak_mb=result.meter.peak_mb,
        provenance=collect(result.started, session.device),
    )
    session.store.write(record)
    return record
