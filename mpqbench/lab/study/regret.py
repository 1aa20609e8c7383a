"""Regret of a searcher on a truncated problem whose optimum is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.precision import Precision
from ...core.recipe import PluginChoice, Recipe
from ...core.settings import digest_of
from ...core.suite import Job
from ...job.context import JobContext
from ...job.resources import Resources
from ...job.search_stage import search_problem
from ...records.store import read_object
from ...search.problem import Problem
from ...search.tabular import enumerate_best
from .jobs import check_base, open_job

BLOCKS = 2  # the last ones: 8 groups, and with 4 choices 65,536 allocations
INPUTS = 32
# Fields of a recipe on which an optimum does not depend.
_OTHERS = {"name", "summary", "source", "keeps", "leaves_out", "searcher", "evaluations"}


@dataclass(frozen=True)
class Regret:
    """One searcher on the truncated problem, by joint scores in the clean environment.

    ``regret`` is (score - optimum) / optimum; ``forwards`` are those of the truncated part.
    """

    budget: str
    seed: int
    method: str
    score: float
    optimum: float
    regret: float
    forwards: float


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


def measure_regret(job: Job, resources: Resources, folder: Path) -> Regret:
    """Measure the regret of ``job``'s searcher on the last two blocks, others at the budget's base.

    All allocations of the truncated problem are scored once for each budget and seed, and the
    optimum is kept in ``folder``. A searcher has the recipe's evaluations in proportion to the
    remaining groups and scores in its own environment. Its answer is scored in the clean one, on
    the calibration inputs of the search: regret does not measure generalization.
    """
    choices = tuple(str(p) for p in truncated_choices(job.budget.precision))
    recipe = job.recipe.model_copy(update={"choices": choices})
    protocol = job.protocol.model_copy(update={"calibration": INPUTS})
    small = replace(job, recipe=recipe, protocol=protocol)
    context = open_job(small, resources)
    names = [group.name for group in context.groups if group.searchable]
    part = tuple(names[-4 * BLOCKS :])
    share = len(part) / len(names)
    plain = {"objective": PluginChoice(name="output-mse"), "evaluations": None}
    plain["environment"] = PluginChoice(name="clean")
    judging = open_job(replace(small, recipe=recipe.model_copy(update=plain)), resources)
    judge, _ = search_problem(judging, part)
    optimum = _optimum(judging, judge, folder)
    problem, _ = search_problem(context, part)
    whole = problem.price({group: problem.choices(group)[0] for group in part})
    if job.recipe.evaluations is not None:
        problem.allowance = job.recipe.evaluations * share * whole
    found = problem.checked(context.plugins.searcher.search(problem))
    score = judge.score(found)
    return Regret(
        str(job.budget), job.seed, job.recipe.name, score, optimum,
        (score - optimum) / optimum, problem.spent / whole,
    )  # fmt: skip


def _optimum(context: JobContext, judge: Problem, folder: Path) -> float:
    job = context.job
    plain = Recipe(name="optimum").model_copy(
        update={key: getattr(job.recipe, key) for key in Recipe.model_fields if key not in _OTHERS}
    )
    sources = context.resources.registry.source_digest(plain)
    inputs = context.recordings.fingerprint
    parts = [plain.model_dump(mode="json"), sources, inputs, str(job.budget)]
    path = folder / f"{digest_of(parts)}.json"
    if path.is_file():
        return float(read_object(path)["optimum"])
    context.reporter.say(f"  scoring all allocations of the last {BLOCKS} blocks at {job.budget}")
    found, score = enumerate_best(judge, joint=True)
    content = {"allocation": found.to_json(), "optimum": score, "scored": len(judge.trace.rows)}
    write_atomic(path, json.dumps(content, indent=2).encode())
    return score
