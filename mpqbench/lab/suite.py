"""Many jobs: plan, resume, run, collect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import BenchError
from ..core.precision import FULL, Budget
from ..core.progress import Reporter
from ..core.recipe import FULL_PRECISION, SLOTS, Job, Protocol, Recipe, Suite
from ..core.registry import Registry
from ..job.resources import Resources
from ..job.run import fingerprint, open_samples, run_job, unfinished
from ..records.schema import JobRecord
from ..records.store import RecordStore
from ..tuning.trajectories import KEPT_STEPS


def plan(suite: Suite, registry: Registry, device: str) -> list[Job]:
    """All jobs in order: per model and seed first full precision, then methods x budgets.

    Plugins are built here once, so that a mistake in a recipe shows before anything is run.
    """
    recipes = [registry.method(spec) for spec in suite.named.values()]
    for recipe in recipes:
        _check(recipe, registry, suite.protocol)
    budgets = [Budget.parse(text) for text in suite.budgets]
    axes = {"model": suite.models, "seed": suite.seeds, "budget": [str(b) for b in budgets]}
    for axis, values in axes.items():
        for value in values:
            if values.count(value) > 1:
                raise BenchError(f"suite '{suite.name}' names {axis} {value} twice")
    jobs = []
    for model in suite.models:
        for seed in suite.seeds:
            jobs.append(Job(model, FULL_PRECISION, Budget(FULL), seed, suite.protocol, device))
            jobs += [
                Job(model, recipe, budget, seed, suite.protocol, device)
                for recipe in recipes
                if recipe.name != FULL_PRECISION.name
                for budget in budgets
            ]
    return jobs


def with_methods(suite: Suite, names: Sequence[str], registry: Registry) -> Suite:
    """``suite`` with these methods instead: its own of that name, or else the registered one.

    As it is where none is named. Raises BenchError for a name that is neither.
    """
    own = suite.named
    for name in names:
        if name not in own:
            registry.entry("method", name, beside=own)
    kept = tuple(own.get(name, name) for name in names) or suite.methods
    return suite.model_copy(update={"methods": kept})


def _check(recipe: Recipe, registry: Registry, protocol: Protocol) -> None:
    for kind in SLOTS:
        plugin: Any = registry.create(kind, getattr(recipe, kind))
        span = plugin.span if kind in ("objective", "tuner") else 1
        limits = [("sampling steps", protocol.steps)]
        if kind == "objective":
            limits.append(("calibration inputs", protocol.calibration))
        if kind == "tuner":
            limits.append(("recorded steps of an image", KEPT_STEPS))
        for what, most in limits:
            if span > most:
                raise BenchError(
                    f"method '{recipe.name}': its {kind} has span {span}, and protocol "
                    f"'{protocol.name}' no more than {most} {what}"
                )


@dataclass(frozen=True)
class Planned:
    """A job with its fingerprint and whether its record is already there."""

    job: Job
    fingerprint: str
    cached: bool


def look_up(jobs: list[Job], resources: Resources, store: RecordStore) -> Iterator[Planned]:
    """Each job with its state in the store."""
    for job in jobs:
        print_ = fingerprint(job, resources)
        yield Planned(job, print_, store.done(job.id, print_))


def run_suite(
    jobs: list[Job], resources: Resources, store: RecordStore, reporter: Reporter, *, fresh: bool
) -> list[JobRecord]:
    """Run what is not done yet; one failed job does not stop the others."""
    check_jobs(jobs, resources)
    records = []
    for number, job in enumerate(jobs, 1):
        title = f"[{number}/{len(jobs)}] {job.model} {job.recipe.name} {job.budget} seed {job.seed}"
        mark = fingerprint(job, resources)
        if not fresh and store.done(job.id, mark):
            reporter.say(f"{title}: done before")
            records.append(store.read(job.id))
            continue
        reporter.say(title)
        reference = _reference_of(job, records)
        if reference is not None and reference.status == "done":
            again = _sampled_again(job.reference, resources, store, reporter)
            if again is not None:
                records[records.index(reference)] = reference = again
        if reference is not None and reference.status != "done":
            record = unfinished(job, mark, "skipped", f"full precision is {reference.status}")
            store.write(record)
        else:
            record = run_job(job, mark, resources, store, reporter, fresh=fresh)
        if record.status != "done":
            reporter.say(f"{title}: {record.status}: {record.reason}")
        records.append(record)
    return records


def _sampled_again(
    reference: Job, resources: Resources, store: RecordStore, reporter: Reporter
) -> JobRecord | None:
    """The new record of full precision, run again where its samples are gone, as after a folder was
    cleared of them: pairs are compared image by image. ``None`` where they are there."""
    if open_samples(reference, store, resources).holds(reference.protocol.images):
        return None
    reporter.say("  full precision has lost its samples: sampling them again")
    mark = fingerprint(reference, resources)
    return run_job(reference, mark, resources, store, reporter, fresh=False)


def check_jobs(jobs: Iterable[Job], resources: Resources) -> None:
    """Raises BenchError where a job could not be judged: for a device, features or a reference."""
    resources.check_device()
    for model, protocol in dict.fromkeys((job.model, job.protocol) for job in jobs):
        resources.check_images(model, protocol)


def _reference_of(job: Job, records: list[JobRecord]) -> JobRecord | None:
    """The full-precision record that ``job`` is paired with."""
    if job.is_reference:
        return None
    wanted = job.reference.id
    return next((record for record in records if record.job == wanted), None)
