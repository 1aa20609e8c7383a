"""Regret of a searcher on a truncated problem whose optimum is known."""

from dataclasses import dataclass, replace

from ...core.errors import BenchError
from ...core.precision import Precision
from ...core.recipe import TEXTS, PluginChoice
from ...core.settings import digest_of
from ...core.suite import Job
from ...job.context import JobContext
from ...job.resources import Resources
from ...job.search_stage import search_problem
from ...search.problem import Problem
from ...search.tabular import enumerate_best
from .jobs import check_base, open_job

BLOCKS = 2  # the last ones: 8 groups, and with 4 choices 65,536 allocations
INPUTS = 32


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


def measure_regret(job: Job, resources: Resources) -> Regret:
    """Measure the regret of ``job``'s searcher on the last two blocks, others at the budget's base.

    All allocations of the truncated problem are scored once for each budget and seed, and the
    optimum is kept in the cache. A searcher has the recipe's evaluations in proportion to the
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
    plain = {"searcher": "uniform", "objective": "output-mse", "environment": "clean"}
    changes = {slot: PluginChoice(name=name) for slot, name in plain.items()}
    reference_recipe = recipe.model_copy(update={**changes, "evaluations": None})
    reference = open_job(replace(small, recipe=reference_recipe), resources)
    exact, _ = search_problem(reference, part)
    optimum = _optimum(reference, exact)
    problem, _ = search_problem(context, part)
    whole = problem.price({group: problem.choices(group)[0] for group in part})
    if job.recipe.evaluations is not None:
        problem.allowance = job.recipe.evaluations * (len(part) / len(names)) * whole
    score = exact.score(problem.checked(context.plugins.searcher.search(problem)))
    regret, forwards = (score - optimum) / optimum, problem.spent / whole
    return Regret(str(job.budget), job.seed, job.recipe.name, score, optimum, regret, forwards)


def _optimum(context: JobContext, problem: Problem) -> float:
    """Return the least joint score, kept by the digest of all that it depends on."""
    recipe, budget = context.recipe, str(context.job.budget)
    sources = context.resources.registry.source_digest(recipe)
    inputs = context.recordings.fingerprint
    parts = [recipe.model_dump(mode="json", exclude=set(TEXTS)), sources, inputs, budget]

    def enumerated() -> float:
        context.reporter.say(f"  scoring all allocations of the last {BLOCKS} blocks at {budget}")
        return enumerate_best(problem, joint=True)[1]

    return float(context.resources.cache.at("optima").get(digest_of(parts), enumerated))
