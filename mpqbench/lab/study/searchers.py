"""Searchers on equal terms, and the regret of each on a truncated problem of known optimum."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.precision import Budget, Precision
from ...core.recipe import TEXTS, PluginChoice
from ...core.settings import digest_of, sealed
from ...core.suite import Job, Suite
from ...job.context import JobContext, calibrate
from ...job.resources import Resources, Session
from ...job.search_stage import search_problem
from ...records.schema import JobRecord
from ...records.store import read_sealed
from ...search.answer import find_answer
from ...search.problem import Problem
from ...search.tabular import enumerate_best
from ..shared import place_of
from ..suite import has_failed, plan, run_suite

BLOCKS = 2  # the last ones are searched: 8 groups, and with 4 choices 65,536 allocations
INPUTS = 32


def open_job(job: Job, resources: Resources) -> JobContext:
    """Return the calibrated context of a job. Raises BenchError as ``check_base``."""
    check_base(job.budget.precision)
    return calibrate(JobContext.open(job, resources))


def check_base(base: Precision) -> None:
    """Raise BenchError where a budget names no precision: studies vary around a precision."""
    if base.is_full:
        raise BenchError("a study needs a budget such as W4A4: others name no precision")


def with_evaluations(suite: Suite, evaluations: float | None) -> Suite:
    """Return ``suite`` with this allowance in every method, unchanged for ``None``."""
    if evaluations is None:
        return suite
    methods = tuple(
        {**(m if isinstance(m, dict) else {"base": m, "name": m}), "evaluations": evaluations}
        for m in suite.methods
    )
    return suite.model_copy(update={"methods": methods})


def run_searchers(
    suite: Suite, session: Session
) -> tuple[list[JobRecord], list[dict[str, Any]], bool]:
    """Run every search, its samples and its regret; what is done is not done again.

    Returns the records, rows as of ``measure_regret``, and whether something failed.
    Raises BenchError for a budget around which there is no exact reference.
    """
    jobs = plan(suite, session.registry, session.device)
    for budget in suite.budgets:
        truncated_choices(Budget.parse(budget).precision)  # before hours of searching
    records = run_suite(jobs, session)
    done = {record.job for record in records if record.status == "done"}
    searched = [job for job in jobs if not job.is_reference and job.id in done]
    regrets = []
    for number, job in enumerate(searched, 1):
        name = f"{job.recipe.name} {job.budget} {place_of(job)}"
        title = f"[{number}/{len(searched)}] regret of {name}"
        try:
            regrets.append(_regret(job, session, title))
        except Exception as error:  # whatever a plugin raises must not cost the other rows
            session.reporter.say(f"{title}: {type(error).__name__}: {error}")
    failed = has_failed(records)
    return records, regrets, failed or len(regrets) < len(searched)


def _regret(job: Job, session: Session, title: str) -> dict[str, Any]:
    recipe = job.recipe.model_dump(mode="json", exclude={"summary", "source"})
    sources = session.registry.source_digest(job.recipe)
    protocol = job.protocol.model_dump(mode="json")
    fingerprint = digest_of(
        [recipe, sources, job.model, protocol, str(job.budget), job.realization]
    )
    path = session.store.folder / "regret" / f"{job.id}.json"
    known = _kept_regret(path, session)
    if known.get("fingerprint") == fingerprint:
        return known
    session.reporter.say(title)
    row = {"fingerprint": fingerprint, **measure_regret(job, session.resources)}
    write_atomic(path, json.dumps(sealed(row), indent=2).encode())
    return row


def _kept_regret(path: Path, session: Session) -> dict[str, Any]:
    """Return the row of an earlier run, an empty one where there is none or it is damaged."""
    try:
        return read_sealed(path) if path.is_file() else {}
    except BenchError:
        session.reporter.say(f"{path} is damaged: made again")
        return {}


def truncated_choices(base: Precision) -> tuple[Precision, ...]:
    """Return ``base`` with one weight bit less, as it is, with one more, and with one more of both.

    Raises BenchError if fewer than three of them are valid, or ``base`` names no precision.
    """
    check_base(base)
    w, a = base.weight_bits, base.activation_bits
    pairs = ((w - 1, a), (w, a), (w + 1, a), (w + 1, a + 1))
    valid = [Precision(*pair) for pair in pairs if all(2 <= bits <= 8 for bits in pair)]
    if len(valid) < 3:
        raise BenchError(f"no exact reference around {base}: there are too few bits beside it")
    return tuple(valid)


def measure_regret(job: Job, resources: Resources) -> dict[str, Any]:
    """Measure the regret of ``job``'s searcher on the last two blocks, others at the budget's base.

    All allocations of the truncated problem are scored once for each budget and realization, and
    the optimum is kept in the cache. A searcher has the recipe's evaluations in proportion to the
    remaining groups and scores in its own environment. Its answer is scored in the clean one, on
    the calibration inputs of the search: regret does not measure generalization. In the row,
    ``regret`` is (score - optimum) / optimum; ``forwards`` are those of the truncated part.
    """
    choices = tuple(str(p) for p in truncated_choices(job.budget.precision))
    recipe = job.recipe.model_copy(update={"choices": choices})
    protocol = job.protocol.model_copy(update={"calibration": INPUTS})
    small = replace(job, recipe=recipe, protocol=protocol)
    context = open_job(small, resources)
    names = [group.name for group in context.groups if group.searchable]
    part = tuple(names[-4 * BLOCKS :])
    plain = {"searcher": "uniform", "objective": "output-mse", "environment": "clean"}
    changes = {slot: PluginChoice(name=name) for slot, name in plain.items()}
    recipe = recipe.model_copy(update={**changes, "evaluations": None})
    reference = open_job(replace(small, recipe=recipe), resources)
    exact, _ = search_problem(reference, part)
    optimum = _optimum(reference, exact)
    problem, _ = search_problem(context, part)
    whole = problem.price({group: problem.choices(group)[0] for group in part})
    if job.recipe.evaluations is not None:
        problem.allowance = job.recipe.evaluations * (len(part) / len(names)) * whole
    found = find_answer(context.plugins.searcher, problem, job.recipe.searcher.name)
    score = exact.score(found)
    row = {"budget": str(job.budget), "seed": job.seed, "method": job.recipe.name, "score": score}
    row |= {"optimum": optimum, "regret": (score - optimum) / optimum}
    return row | {"forwards": problem.spent / whole, "notes": problem.remarks}


def _optimum(context: JobContext, problem: Problem) -> float:
    recipe, budget = context.recipe, str(context.job.budget)
    sources = context.resources.registry.source_digest(recipe)
    inputs = context.recordings.fingerprint
    parts = [recipe.model_dump(mode="json", exclude=set(TEXTS)), sources, inputs, budget]

    def enumerated() -> float:
        context.reporter.say(f"  scoring all allocations of the last {BLOCKS} blocks at {budget}")
        return enumerate_best(problem, joint=True)[1]

    return float(context.resources.cache.at("optima").get(digest_of(parts), enumerated))
