"""Suites: plan their jobs, run what is not done, collect the records."""

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import BenchError, unknown
from ..core.precision import FULL, Budget
from ..core.protocol import Protocol
from ..core.recipe import FULL_PRECISION, Recipe
from ..core.registry import Registry
from ..core.suite import Job, Suite, check_names
from ..dit.own import of_model
from ..job.context import check_groups, check_recipe
from ..job.fingerprints import fingerprint
from ..job.resources import Resources, Session
from ..job.search_problem import check_searches
from ..metrics.features import usable_device
from ..records.schema import JobRecord
from .kept import check_folder
from .planned import write_planned
from .shared import SharedJobs


def plan(suite: Suite, registry: Registry, device: str) -> list[Job]:
    """Return all jobs in order: per model and seed first full precision, then methods x budgets.

    The first realization of every method comes before the second of any.

    Raises BenchError for a mistake in a recipe and for evaluations that are too few for its search,
    before anything is run.
    """
    try:
        recipes = [_checked_recipe(spec, suite, registry) for spec in suite.named.values()]
        formatted = [suite.in_classes(recipe).items() for recipe in recipes]
        for _, recipe in itertools.chain(*formatted):
            check_recipe(recipe, suite.protocol, registry)
    except BenchError as error:
        if str(error).startswith(where := f"suite '{suite.name}'"):
            raise
        raise BenchError(f"{where}: {error}") from None
    counts = {name: suite.realizations_of(name) for name in suite.named}
    places = [os.path.realpath(model) if Path(model).exists() else model for model in suite.models]
    axes = {"model": places, "seed": suite.seeds, "budget": suite.budgets}
    axes["format"] = suite.formats
    for axis, values in axes.items():
        for value in values:
            if values.count(value) > 1:
                raise BenchError(f"suite '{suite.name}' names {axis} {value} twice")
    for recipe in recipes:
        if recipe.name == FULL_PRECISION.name and recipe != FULL_PRECISION:
            raise BenchError(
                f"suite '{suite.name}': '{recipe.name}' is the model as it is, the reference of "
                "every pair: give this recipe another name"
            )
    conditions = [(FULL_PRECISION, Budget(FULL), "", 0)]
    conditions += [
        (recipe, Budget.parse(text), name, realization)
        for realization in range(max(counts.values()))
        for name, recipe in itertools.chain(*formatted)
        if recipe.name != FULL_PRECISION.name and realization < counts[recipe.name]
        for text in suite.budgets
    ]
    protocols = {model: of_model(suite.protocol, model) for model in suite.models}
    jobs = [
        Job(model, recipe, budget, seed, protocols[model], device, name, realization)
        for model in suite.models
        for seed in suite.seeds
        for recipe, budget, name, realization in conditions
    ]
    check_searches(jobs, registry)
    check_names(jobs)
    return jobs


def _checked_recipe(spec: Any, suite: Suite, registry: Registry) -> Recipe:
    recipe = registry.method(spec)
    check_recipe(recipe, suite.protocol, registry)
    if recipe.name == FULL_PRECISION.name and recipe != FULL_PRECISION:
        raise BenchError(f"'{recipe.name}' is the model as it is: give this method another name")
    return recipe


def with_methods(suite: Suite, names: Sequence[str], registry: Registry | None = None) -> Suite:
    """Return ``suite`` with these methods instead: its own of that name, or the registered one.

    With no names the suite stays as it is. Raises BenchError for a name that is neither, and
    without a ``registry`` for a name that is not in the suite.
    """
    known = suite.named
    for name in (name for name in names if name not in known):
        if registry is None:
            raise unknown(f"method of suite '{suite.name}'", name, known)
        registry.entry("method", name, beside=known)
    kept = tuple(suite.entries.get(name, name) for name in names) or suite.methods
    return suite.model_copy(update={"methods": kept})


def look_up(job: Job, session: Session) -> tuple[str, bool]:
    """Return the fingerprint of a job, and whether the record of that fingerprint is there."""
    current = fingerprint(job, session.resources)
    return current, session.store.done(job.id, current)


def run_suite(jobs: Sequence[Job], session: Session) -> list[JobRecord]:
    """Run the jobs that are not done yet; a job that fails does not stop the others.

    Jobs that other processes run on the same folder are waited for, and theirs are the records.
    """
    return open_jobs(jobs, session).run()


def open_jobs(jobs: Sequence[Job], session: Session) -> SharedJobs:
    """Return the jobs ready to be run, in a folder that is ready for them.

    Raises BenchError as ``check_jobs``, and as ``check_folder``.
    """
    check_jobs(jobs, session.resources)
    fingerprints = {job.id: fingerprint(job, session.resources) for job in jobs}
    check_folder(jobs, fingerprints, session)
    removed = session.store.remove_unfinished()
    if removed:
        session.reporter.say(
            f"removed {len(removed)} unfinished file(s) of killed writes, such as {removed[0]}"
        )
    write_planned(jobs, fingerprints, session)
    return SharedJobs(jobs, session, fingerprints)


def has_failed(records: Iterable[JobRecord]) -> bool:
    """Return whether a job failed, or full precision, without which nothing can be compared.

    Another job that diverged or found no allocation is a result.
    """
    return any(
        record.status == "failed" or (record.is_full_precision and record.status != "done")
        for record in records
    )


def check_jobs(jobs: Iterable[Job], resources: Resources) -> None:
    """Raise BenchError for what would end a job: a device, features, a reference, scale groups."""
    usable_device(resources.device)
    by_model: dict[tuple[str, Protocol], list[Job]] = {}
    for job in jobs:
        by_model.setdefault((job.model, job.protocol), []).append(job)
    for (name, protocol), alike in by_model.items():
        resources.loader.check(name, protocol)
        transformer = resources.loader.model(name, protocol).transformer
        for job in alike:
            check_groups(job, transformer)
