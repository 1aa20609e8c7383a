"""One job, top to bottom: load, calibrate, search, quantize, tune, correct, sample, score."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .. import __version__
from ..core.errors import BenchError, Diverged, Infeasible
from ..core.files import write_atomic
from ..core.progress import Reporter
from ..core.recipe import Job, digest_of
from ..dit.groups import layer_groups
from ..dit.sampling import Sampler
from ..metrics.score import metric_fingerprint
from ..records.provenance import collect
from ..records.schema import AllocationSummary, Costs, JobRecord, Metric, Score, Status
from ..records.store import RecordStore
from .correct import correct
from .meter import Meter
from .resources import Resources
from .samples import SampleStore
from .search_stage import find_allocation
from .stages import (
    calibrate,
    costs_of,
    count_cost,
    distribution,
    fidelity,
    quantize,
    summary_of,
)
from .tune import lessons_of, tune


@dataclass
class PartialResult:
    """What a job has found so far; a job that ends early keeps what it has."""

    allocation: AllocationSummary | None = None
    costs: Costs | None = None
    search_evals: float = 0.0
    scores: dict[Metric, Score] = field(default_factory=dict)


def run_job(
    job: Job,
    mark: str,
    resources: Resources,
    store: RecordStore,
    reporter: Reporter,
    *,
    fresh: bool,
) -> JobRecord:
    """Run ``job`` and write its record, whatever way it ends.

    A plugin may raise anything; that ends this job as ``failed`` and keeps its traceback in
    ``logs/``, while the suite goes on.
    """
    started, found = datetime.now(UTC), PartialResult()
    meter = Meter(job.device)
    status: Status = "done"
    reason = ""
    try:
        with meter:
            _run(job, resources, store, reporter, meter, found, fresh)
    except Infeasible as error:
        status, reason = "infeasible", str(error)
    except Diverged as error:
        status, reason = "diverged", str(error)
    except Exception as error:
        kind = "" if isinstance(error, BenchError) else f"{type(error).__name__}: "
        status, reason = "failed", f"{kind}{error}"
        log = store.folder / "logs" / f"{job.id}.log"
        write_atomic(log, traceback.format_exc().encode())
    record = _record(job, mark, started, status, reason, found, meter, resources)
    store.write(record)
    return record


def unfinished(job: Job, mark: str, status: Status, reason: str) -> JobRecord:
    """The record of a job that was not run, so that its row is never missing."""
    now, meter = datetime.now(UTC), Meter(job.device)
    return _record(job, mark, now, status, reason, PartialResult(), meter, None)


def _run(
    job: Job,
    resources: Resources,
    store: RecordStore,
    reporter: Reporter,
    meter: Meter,
    found: PartialResult,
    fresh: bool,
) -> None:
    protocol, images = job.protocol, job.protocol.images
    with meter.stage("load"):
        model = resources.model(job.model, protocol)
        groups = layer_groups(model.transformer)
    samples = open_samples(job, store, resources)
    if fresh:
        samples.clear()
    with meter.stage("calibrate"):
        calibration = calibrate(job, model, groups, resources, reporter)
        held = None
        if not job.is_reference:
            held = resources.held_out(model, protocol, job.seed, reporter)
        mark = _samples_fingerprint(job, resources)
        lessons = lessons_of(job, model, resources, store, mark, reporter, fresh)
    with meter.stage("search"):
        search = find_allocation(job, model, groups, calibration, resources, reporter, fresh=fresh)
        allocation, found.search_evals = search.allocation, search.spent
        search.write(store, job.id)
    meter.seconds["search"] = round(meter.seconds["search"] + search.borrowed, 3)
    title = f"quantizing {job.recipe.name} {job.budget}"
    with meter.stage("quantize"), reporter.stage(title, len(groups)) as advance:
        quantized = quantize(job, model, groups, allocation, calibration, resources, advance)
    with quantized:
        if lessons is not None:
            with meter.stage("tune"):
                curve = tune(job, quantized, groups, lessons, resources)
                curve.write(store.trace_path(job.id, "tuning"))
        if held is not None:
            errors = held.mse(model.transformer, protocol.micro_batch, job.device)
            noise = errors[: model.latent_shape[0]]
            found.scores["output_mse"] = Score(value=float(errors.mean()))
            found.scores["noise_mse"] = Score(value=float(noise.mean()))
        with meter.stage("correct"):
            corrections = correct(job, model, quantized, resources, reporter)
        sampler = Sampler(model, protocol, job.seed, job.device)
        sampler.corrections = corrections
        report = count_cost(job, model, groups, allocation, quantized, sampler.guidance_passes)
        found.costs, found.allocation = costs_of(report, job), summary_of(allocation, report)
        title = f"sampling {job.recipe.name} {job.budget}"
        with meter.stage("sample"), reporter.stage(title, images) as advance:
            samples.fill(sampler, images, advance)
    with meter.stage("score"):
        if not job.is_reference:
            found.scores |= fidelity(samples, open_samples(job.reference, store, resources), images)
        judge = resources.judge(protocol)
        if judge is not None:
            with reporter.stage(f"scoring {job.recipe.name} {job.budget}", images) as advance:
                found.scores |= distribution(samples, judge, images, advance)


def fingerprint(job: Job, resources: Resources) -> str:
    """Digest of everything that can change a job's record."""
    return digest_of([_samples_fingerprint(job, resources), _metric_fingerprint(job, resources)])


def open_samples(job: Job, store: RecordStore, resources: Resources) -> SampleStore:
    """The samples of ``job``; they do not depend on how many there are or who judges them."""
    mark = _samples_fingerprint(job, resources)
    return SampleStore(store.samples_path(job.id), mark, resources.batch_size)


def _samples_fingerprint(job: Job, resources: Resources) -> str:
    """Digest of what decides the pixels of image i: code version, model, recipe, sampling."""
    judging = {"name", "images", "features", "feature_weights", "reference"}
    return digest_of(
        {
            "version": __version__,
            "model": resources.model(job.model, job.protocol).digest,
            "recipe": job.recipe.model_dump(
                mode="json", exclude={"summary", "source", "keeps", "leaves_out"}
            ),
            "plugins": resources.registry.source_digest(job.recipe),
            "budget": str(job.budget),
            "seed": job.seed,
            "sampling": job.protocol.model_dump(mode="json", exclude=judging),
            "device": job.device.partition(":")[0],
        }
    )


def _metric_fingerprint(job: Job, resources: Resources) -> str:
    """Digest of what scores depend on beside the method: rows that differ are never ranked."""
    judge, protocol = resources.judge(job.protocol), job.protocol
    network = "none" if judge is None else metric_fingerprint(
        judge.network, protocol.images, judge.reference
    )  # fmt: skip
    sampling = protocol.model_dump(
        mode="json", exclude={"name", "features", "feature_weights", "reference", "micro_batch"}
    )
    return digest_of([network, sampling])


def _record(
    job: Job,
    mark: str,
    started: datetime,
    status: Status,
    reason: str,
    found: PartialResult,
    meter: Meter,
    resources: Resources | None,
) -> JobRecord:
    return JobRecord(
        job=job.id,
        fingerprint=mark,
        metric_fingerprint=None if resources is None else _metric_fingerprint(job, resources),
        status=status,
        reason=reason,
        model=job.model,
        method=job.recipe.name,
        budget=str(job.budget),
        seed=job.seed,
        recipe=job.recipe.model_dump(mode="json"),
        protocol=job.protocol.model_dump(mode="json"),
        allocation=found.allocation,
        extractor=job.protocol.features,
        n_images=job.protocol.images if status == "done" else 0,
        scores=found.scores,
        costs=found.costs,
        search_evals=found.search_evals,
        seconds=meter.seconds,
        peak_mb=meter.peak_mb,
        provenance=collect(started),
    )
