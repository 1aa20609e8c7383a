"""Compare records with the recipes, protocols and fingerprints that their suite gives them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import BenchError
from ...core.formats import OWN
from ...core.recipe import TEXTS, Recipe
from ...core.settings import validate
from ...core.sources import harness_digest
from ...core.suite import Job
from ...job.fingerprints import fingerprint, ranking_fingerprint, recipe_digest
from ...job.resources import Resources
from ...records.schema import JobRecord
from ..ablation.design import FILE, load
from ..ablation.run import PlannedAblation
from ..suite import plan
from ..suites import load_suite

SUITE = "suite.yaml"
_PROTOCOL = re.compile(r"__p[0-9a-f]{6}$")
Told = Iterator[tuple[str, str, bool]]  # job or file, sentence, whether it is a note


@dataclass(frozen=True)
class _Planned:
    """What a leaderboard is of: jobs by name without their protocol, recipes by method."""

    jobs: Mapping[str, Job]
    recipes: Mapping[str, Recipe]

    @classmethod
    def of(cls, board: Path, resources: Resources) -> "_Planned":
        """Plan the suite or the ablation of ``board``. Raises BenchError where it has neither."""
        if (path := board / SUITE).is_file():
            jobs = plan(load_suite(str(path)), resources.registry, "cpu")
            return cls({_stem(job.id): job for job in jobs}, {})
        if (design := load(board)) is not None:
            cells = PlannedAblation.of(design, resources.registry).cells
            return cls({}, {cell.recipe.name: cell.recipe for cell in cells})
        raise BenchError(f"{board} has neither {SUITE} nor {FILE}: add that which it was run from")

    def recipe(self, record: JobRecord, resources: Resources) -> Recipe:
        """Return the recipe that ``record`` should have. Raises BenchError where none is known."""
        if (job := self.jobs.get(_stem(record.job))) is not None:
            return job.recipe
        if record.method in self.recipes:
            return self.recipes[record.method]
        recipe = resources.registry.method(record.method)
        in_class = record.format and record.format != OWN and "__" + record.format in record.job
        return recipe.in_class(record.format) if in_class else recipe


def check_recipes(board: Path, records: Sequence[JobRecord], resources: Resources) -> Told:
    """Yield records that are not what their suite, or the recipe of their method, gives.

    Fingerprints are recomputed for records of the sources that are running; others depend on
    sources that are not here.
    """
    try:
        planned = _Planned.of(board, resources)
    except BenchError as error:
        yield SUITE, str(error), False
        return
    there = {_stem(record.job) for record in records}
    for stem, job in planned.jobs.items():
        if stem not in there:
            yield job.id, f"has no record, and {SUITE} has the job", False
    for record in records:
        yield from _one(record, planned, resources)


def _one(record: JobRecord, planned: _Planned, resources: Resources) -> Told:
    try:
        own = validate(Recipe, record.recipe, record.job)
        wanted = planned.recipe(record, resources)
    except BenchError as error:
        yield record.job, f"the recipe cannot be compared: {error}", True
        return
    if changed := _changed(own.model_dump(exclude={*TEXTS}), wanted.model_dump()):
        names = ", ".join(changed)
        yield record.job, f"the recipe is not that of '{record.method}': {names} differ", False
    job = planned.jobs.get(_stem(record.job))
    if job is not None:
        protocol = {name: value for name, value in record.protocol.items() if name != "name"}
        if changed := _changed(protocol, job.protocol.model_dump(mode="json")):
            yield record.job, f"the protocol is not that of {SUITE}: {', '.join(changed)}", False
    if record.provenance.harness != harness_digest():
        yield record.job, "measured with other sources: fingerprints not recomputed", True
        return
    if record.recipe_digest != recipe_digest(wanted, resources.registry):
        yield record.job, "the recipe digest is not that of the recipe and its plugins", False
    if job is not None:
        yield from _job_fingerprints(record, job, resources)


def _job_fingerprints(record: JobRecord, job: Job, resources: Resources) -> Told:
    is_cpu = record.provenance.device in (None, "cpu")
    job = replace(job, device="cpu" if is_cpu else "cuda")
    try:
        found = fingerprint(job, resources), ranking_fingerprint(job, resources)
    except BenchError as error:
        yield record.job, f"fingerprints not recomputed: {error}", True
        return
    told = record.fingerprint, record.metric_fingerprint
    for name, one, other in zip(("fingerprint", "metric fingerprint"), told, found, strict=True):
        if one not in (None, other):
            yield record.job, f"the {name} is {one}, and {other} by {SUITE}", False


def _changed(own: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    return [name for name in own if name in wanted and own[name] != wanted[name]]


def _stem(job: str) -> str:
    """Return the name of a job without its protocol, which records of older versions lack."""
    return _PROTOCOL.sub("", job)
