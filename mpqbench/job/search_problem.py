"""The problem of a recipe and a budget: groups, choices, costs and prices, without a model."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import BenchError
from ..core.precision import Budget, Precision
from ..core.recipe import Recipe
from ..core.registry import Registry
from ..core.suite import Job
from ..cost.count import Operator
from ..dit.architectures import architecture_of
from ..dit.groups import layer_groups
from ..dit.loading import meta_transformer
from ..quant.planned import PlannedOperators, correction_operator
from ..search.budget_costs import choices_by_group, choices_within, measures, parse_choices
from ..search.prices import Prices, check_allowance
from ..search.problem import Problem
from ..search.setup import stage_work
from .context import Plugins


def priced_problem(
    recipe: Recipe, plugins: Plugins, budget: Budget, transformer: Any, part: Sequence[str] = ()
) -> Problem:
    """Return the problem of a recipe and a budget, with prices and no scores.

    ``transformer`` needs no weights. ``part`` names the groups to search where not all are, in
    network order; the others stay at the budget's precision, and their cost is subtracted from the
    limit.
    """
    groups = layer_groups(transformer)
    precisions = choices_within(budget, parse_choices(recipe.choices, budget))
    searchable = [group.name for group in groups if group.searchable]
    planned = PlannedOperators.of(plugins.transform, plugins.branch, transformer, groups)
    branches = planned.branches
    costs = measures(
        transformer,
        groups,
        budget,
        precisions,
        adaln=Precision.parse(recipe.adaln),
        weight_format=recipe.weight_format,
        activation_format=recipe.activation_format,
        attention_bits=recipe.attention_bits,
        branches=bounded_branches(recipe, branches),
        transforms=planned.transforms,
        others=planned_correction(plugins, transformer),
    )
    branched = {group for group, operators in branches.items() if operators}
    choices = choices_by_group(precisions, costs[0], branched, part or searchable)
    if part:
        costs = [measure.without(part, budget.precision) for measure in costs]
    work = stage_work(transformer, groups)
    shares = dict(zip(searchable, (work / work.sum()).tolist(), strict=True))
    allowance = math.inf if recipe.evaluations is None else recipe.evaluations
    scorer = Prices(choices, shares, plugins.objective)
    names = part or searchable
    return Problem(names, choices, costs, budget, scorer=scorer, allowance=allowance)


def planned_correction(plugins: Plugins, transformer: Any, steps: int = 1) -> list[Operator]:
    """Return the correction of a sampler of ``steps`` as the count takes it, if there is one."""
    shape = architecture_of(transformer).latent_shape(transformer)
    operator = correction_operator(plugins.correction, shape, steps)
    return [] if operator is None else [operator]


def bounded_branches(
    recipe: Recipe, branches: Mapping[str, Sequence[Operator]]
) -> Mapping[str, Sequence[Operator]]:
    """Return the operators of branches that the budget bounds, by group."""
    return branches if recipe.branch_in_budget else {}


def check_searches(jobs: Sequence[Job], registry: Registry) -> None:
    """Raise BenchError where a recipe's evaluations are less than its searcher needs.

    Of a model the configuration alone is read, once, and only where evaluations are limited.
    """
    models: dict[tuple[str, int | None], Any] = {}
    searches = {
        (job.model, job.recipe.name, str(job.budget)): job
        for job in jobs
        if job.recipe.evaluations is not None and not job.budget.is_unbounded
    }
    for job in searches.values():
        plugins = Plugins.of(job.recipe, registry)
        if not plugins.searcher.scored:
            continue
        shape = (job.model, job.protocol.image_size)
        if shape not in models:
            models[shape] = meta_transformer(*shape)
        try:
            problem = priced_problem(job.recipe, plugins, job.budget, models[shape])
            check_allowance(plugins.searcher, problem, job.recipe.searcher.name)
        except BenchError as error:
            raise BenchError(f"method '{job.recipe.name}' on {job.model}: {error}") from error
