"""The search stage of a job: from a recipe to a problem with scores, and from it an allocation."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .. import __version__
from ..core.errors import BenchError, Infeasible
from ..core.precision import FULL, Allocation, Precision
from ..core.progress import Reporter
from ..core.recipe import Job, Recipe, digest_of
from ..cost.count import Operator
from ..dit.chain import Layer
from ..dit.groups import Group
from ..dit.loading import DiTModel, skeleton
from ..dit.sampling import Sampler, image_seed
from ..quant.branch import branch_operators, share_of
from ..search import race
from ..search.budget_costs import choices_by_group, choices_within, measures, parse_choices
from ..search.engine import Distance, Engine
from ..search.groups import SearchableGroup
from ..search.lazy import LazyScorer
from ..search.problem import Problem, Scorer
from ..search.rollout import Stepper, build_rollout
from ..search.scoring import JointScorer
from ..search.setup import EngineSettings, build_engine
from ..search.trace import Trace
from .resources import Resources
from .search_result import SearchResult
from .stages import Calibration, group_quantizer


def find_allocation(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    calibration: Calibration,
    resources: Resources,
    reporter: Reporter,
    *,
    fresh: bool = False,
) -> SearchResult:
    """The searcher's allocation of the searchable groups, the recipe's policy for the others.

    Scores come from the calibration inputs; the record's quality is measured on others. A search
    that took scores is kept, and found again unless ``fresh``. Raises Infeasible, and BenchError
    where the searcher breaks its contract.
    """
    if job.budget.is_unbounded:
        return SearchResult(Allocation({group.name: FULL for group in groups}), 0.0, Trace(0))
    store, mark = resources.searches(), _search_mark(job, model, resources)
    before = None if fresh else store.read(mark)
    if before is not None:
        reporter.say(f"  searching {job.recipe.name} {job.budget}: done before")
        return before
    began = time.monotonic()
    found = _search(job, model, groups, calibration, resources, reporter)
    if found.spent > 0:
        store.write(mark, found, time.monotonic() - began + found.borrowed)
    return found


def _search(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    calibration: Calibration,
    resources: Resources,
    reporter: Reporter,
) -> SearchResult:
    problem, scorer = search_problem(job, model, groups, calibration, resources, reporter)
    searcher = resources.registry.create("searcher", job.recipe.searcher)
    try:
        found = problem.checked(searcher.search(problem))
    except Infeasible as error:
        branches = _branches(job, model, groups, resources) if job.recipe.branch_in_budget else {}
        raise Infeasible(f"{error}{share_of(branches)}") from error
    problem.trace.delay(scorer.borrowed)
    fixed = Precision.parse(job.recipe.adaln)
    whole = Allocation({g.name: found.get(g.name, fixed) for g in groups})
    return SearchResult(whole, problem.spent, problem.trace, problem.notes, scorer.borrowed)


def _branches(
    job: Job, model: DiTModel, groups: list[Group], resources: Resources
) -> Mapping[str, Sequence[Operator]]:
    """The branches beside the layers, by group."""
    branch = resources.registry.create("branch", job.recipe.branch)
    return branch_operators(branch, skeleton(model.transformer.config), groups)


def search_problem(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    calibration: Calibration,
    resources: Resources,
    reporter: Reporter,
    part: Sequence[str] = (),
) -> tuple[Problem, LazyScorer]:
    """The problem of a job's recipe and budget, and its scorer.

    ``part`` names the groups to search, in network order, and all others stay at the budget's
    precision, off the limit; left empty, all searchable groups are searched. The groups must be
    those of a model in full precision.
    """
    recipe, budget = job.recipe, job.budget
    own = choices_within(budget, parse_choices(recipe.choices, budget))
    names = part or [group.name for group in groups if group.searchable]
    branches = _branches(job, model, groups, resources)
    costs = measures(
        skeleton(model.transformer.config),
        groups,
        budget,
        own,
        adaln=Precision.parse(recipe.adaln),
        weight_format=recipe.weight_format,
        activation_format=recipe.activation_format,
        branches=branches if recipe.branch_in_budget else {},
    )
    choices = choices_by_group(own, costs[0], {g for g, ops in branches.items() if ops}, names)
    if part:
        costs = [measure.without(part, budget.precision) for measure in costs]

    def scorer() -> Scorer:
        objective = resources.registry.create("objective", recipe.objective)
        engine = _engine(job, model, groups, calibration, objective, resources, part)
        rolls = objective.steps_ahead > 0
        if recipe.early_drop is not None and (rolls or objective.whole_batches):
            name = recipe.objective.name
            raise BenchError(f"objective '{name}' drops no candidate early: remove early_drop")
        if rolls:
            schedule = Sampler(model, job.protocol, job.seed, resources.device).schedule
            return build_rollout(engine, choices, objective, Stepper(schedule, job.seed))
        distance = _distance(job, model, objective, resources, objective.span)
        return JointScorer(engine, choices, costs[0].table, objective, recipe.early_drop, distance)

    title = f"searching {recipe.name} {budget}"
    store = resources.tables()
    mark = _table_mark(job, model, own, part, resources)
    lazy = LazyScorer(scorer, store, mark, title, reporter)
    problem = Problem(
        names,
        choices,
        costs,
        budget,
        scorer=lazy,
        allowance=math.inf if recipe.evaluations is None else recipe.evaluations,
        seed=image_seed(job.seed, "search", 0),
    )
    return problem, lazy


# What scores depend on, and then searches: plugins, and other fields of a recipe.
_SCORING = ("transform", "rounding", "branch", "objective", "environment")
_SCORED = ("weight_format", "activation_format", "attention_bits", "adaln", "early_drop")
_SEARCHED = ("evaluations", "branch_in_budget", "choices")


def _table_mark(
    job: Job,
    model: DiTModel,
    choices: Sequence[Precision],
    part: Sequence[str],
    resources: Resources,
) -> str:
    """Digest of everything an additive table depends on: of the recipe, all but the searcher."""
    own = {"choices": [str(precision) for precision in choices], "part": list(part)}
    return digest_of(_dependencies(job, model, resources, _SCORING, _SCORED) | own)


def _search_mark(job: Job, model: DiTModel, resources: Resources) -> str:
    """Digest of everything a search depends on."""
    slots, fields = (*_SCORING, "searcher"), (*_SCORED, *_SEARCHED)
    own = {"budget": str(job.budget)}
    return digest_of(_dependencies(job, model, resources, slots, fields) | own)


def _dependencies(
    job: Job, model: DiTModel, resources: Resources, slots: Sequence[str], fields: Sequence[str]
) -> dict[str, Any]:
    recipe, registry = job.recipe, resources.registry
    choices = {slot: getattr(recipe, slot) for slot in slots}
    named = {
        slot: [choice.name, registry.parameters(slot, choice)]  # a default is as good as written
        for slot, choice in choices.items()
    }
    return {
        "version": __version__,
        "inputs": resources.statistics_mark(model, job.protocol, job.seed),
        "recipe": recipe.model_dump(mode="json", include={*fields}) | named,
        "plugins": registry.source_digest(Recipe(name="search", **choices)),
        "base": str(job.budget.precision),
    }


def _engine(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    calibration: Calibration,
    objective: Any,
    resources: Resources,
    part: Sequence[str],
) -> Engine:
    recipe = job.recipe
    environment = resources.registry.create("environment", recipe.environment)

    def outside(group: SearchableGroup, inputs: int, batch: int) -> Layer:
        if part and group.name not in part:
            return group.at(job.budget.precision)
        seed = image_seed(job.seed, f"environment/{group.name}", batch)
        return environment.layer(group, job.budget.precision, inputs, seed)

    span = objective.span
    size = job.protocol.micro_batch if recipe.early_drop is None else race.BATCH
    return build_engine(
        model.transformer,
        groups,
        group_quantizer(job, calibration, resources),
        resources.calibration_inputs(model, job.protocol, job.seed, span),
        EngineSettings(
            adaln=Precision.parse(recipe.adaln),
            attention_bits=recipe.attention_bits,
            outside=outside,
            batch=span * max(1, size // span),
            device=resources.device,
        ),
    )


def _distance(
    job: Job, model: DiTModel, objective: Any, resources: Resources, span: int
) -> Distance | None:
    """The objective's, on the channels that the sampler reads where it sums over steps."""
    if not objective.has_distance:
        return None
    distance: Distance = objective.distance
    if span == 1:
        return distance
    sampler = Sampler(model, job.protocol, job.seed, resources.device)
    read = None if sampler.schedule.learned_variance else sampler.channels
    return lambda outputs, targets: distance(outputs[:, :, :read], targets[:, :read])
