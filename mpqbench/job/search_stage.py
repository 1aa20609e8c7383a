"""The search stage: a recipe becomes a problem with scores, and the searcher solves it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..core.errors import BenchError, Infeasible
from ..core.files import write_table
from ..core.precision import Allocation, Precision
from ..core.stop import Terminated
from ..cost.count import Operator
from ..dit.chain import Layer
from ..dit.loading import skeleton
from ..dit.sampling import image_seed
from ..quant.planned import branch_operators, share_of
from ..records.store import RecordStore
from ..search.answer import find_answer
from ..search.budget_costs import choices_within, parse_choices
from ..search.engine import Engine
from ..search.groups import SearchableGroup
from ..search.kept_scores import KeptScores
from ..search.lazy import LazyScorer
from ..search.problem import Problem, Scorer, notes_table
from ..search.rollout import Stepper, build_rollout
from ..search.scoring import BATCH, JointScorer
from ..search.setup import EngineSettings
from .context import JobContext
from .fingerprints import search_fingerprint, table_fingerprint
from .search_problem import bounded_branches, priced_problem


@dataclass(frozen=True)
class SearchResult:
    """An allocation of all groups, the forwards that the search spent, and its tables.

    ``tables`` are the trace, under an empty name, and the notes of the searcher; ``notes`` are
    sentences on what the search gave up or replaced. ``cached_seconds`` are those that a table of
    scores, the scores of a stopped search or a whole search took to compute before they were read
    from the cache: a search costs the same whether or not the cache has its scores.
    """

    allocation: Allocation
    spent: float
    tables: Mapping[str, pd.DataFrame]
    cached_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def write(self, store: RecordStore, job: str) -> None:
        """Write the allocation of ``job`` and all tables that have rows."""
        store.clear_traces(job)
        store.write_allocation(job, self.allocation.to_json())
        for name, table in self.tables.items():
            if len(table):
                write_table(store.trace_path(job, name), table)

    def to_cache(self, seconds: float) -> dict[str, Any]:
        """Return the content of an entry of the cache, for a search that took ``seconds``."""
        tables = {name: table.to_dict("list") for name, table in self.tables.items()}
        content = {"allocation": dict(self.allocation.to_json()), "tables": tables}
        content |= {"spent": float(self.spent), "cached_seconds": float(seconds)}
        return content | {"notes": list(self.notes)}

    @classmethod
    def from_cache(cls, content: Mapping[str, Any]) -> "SearchResult":
        """Return the result whose ``to_cache`` is ``content``."""
        allocation = Allocation.from_json(content["allocation"])
        tables = {name: pd.DataFrame(table) for name, table in content["tables"].items()}
        spent, seconds = content["spent"], content["cached_seconds"]
        return cls(allocation, spent, tables, seconds, tuple(content["notes"]))


def find_allocation(
    context: JobContext, *, fresh: bool = False, check: Callable[[], None] = lambda: None
) -> SearchResult:
    """Return the searcher's allocation of the searchable groups, the recipe's ``adaln`` elsewhere.

    Scores come from the calibration inputs; quality is measured on other inputs. A search that took
    scores is kept in the cache, once ``check`` raises nothing, and read from there unless
    ``fresh``. One that was stopped goes on after the scores that it had. Raises Infeasible, and
    BenchError where the searcher breaks its contract.
    """
    cache, name = context.resources.cache.at("searches"), search_fingerprint(context)
    content = None if fresh else cache.read(name)
    if content is not None:
        context.reporter.say(f"  searching {context.title}: done before")
        return SearchResult.from_cache(content)
    began = time.monotonic()
    kept = KeptScores(context.resources.cache.at("searching"), name)
    if fresh:
        kept.remove()
    result = _search(context, kept)
    check()
    if result.spent > 0:
        cache.write(name, result.to_cache(time.monotonic() - began + result.cached_seconds))
    kept.remove()
    return result


def _search(context: JobContext, kept: KeptScores) -> SearchResult:
    problem, scorer = search_problem(context)
    scorer.kept = kept
    try:
        chosen = find_answer(context.plugins.searcher, problem, context.recipe.searcher.name)
    except Infeasible as error:
        raise Infeasible(f"{error}{share_of(_bounded(context))}") from error
    except (KeyboardInterrupt, Terminated):
        kept.write()
        raise
    tables = {name: notes_table(parts) for name, parts in problem.notes.items()}
    tables[""] = problem.trace.table()
    tables[""]["seconds"] += scorer.cached_seconds
    adaln = Precision.parse(context.recipe.adaln)
    whole = Allocation({g.name: chosen.get(g.name, adaln) for g in context.groups})
    name = context.recipe.searcher.name
    notes = tuple(f"searcher '{name}': {remark}" for remark in problem.remarks)
    seconds = scorer.cached_seconds + kept.seconds
    return SearchResult(whole, problem.spent, tables, seconds, notes)


def _bounded(context: JobContext) -> Mapping[str, Sequence[Operator]]:
    transformer = skeleton(context.model.transformer)
    branches = branch_operators(context.plugins.branch, transformer, context.groups)
    return bounded_branches(context.recipe, branches)


def search_problem(context: JobContext, part: Sequence[str] = ()) -> tuple[Problem, LazyScorer]:
    """Return the problem of a job's recipe and budget, and its scorer.

    ``part`` names the groups to search where not all are, in network order; the others stay at the
    budget's precision, and their cost is subtracted from the limit.
    """
    recipe, bare = context.recipe, skeleton(context.model.transformer)
    problem = priced_problem(recipe, context.plugins, context.job.budget, bare, part)
    choices = {group: problem.choices(group) for group in problem.groups}
    precisions = choices_within(problem.budget, parse_choices(recipe.choices, problem.budget))
    cost = problem.measures[0].table
    scorer = LazyScorer(
        lambda: _scorer(context, choices, cost, part),
        context.resources.cache.at("tables"),
        table_fingerprint(context, precisions, part),
        f"searching {context.title}",
    )
    problem.scorer = scorer
    problem.rng = np.random.default_rng(image_seed(context.job.realization, "search", 0))
    return problem, scorer


def _scorer(
    context: JobContext,
    choices: Mapping[str, Sequence[Precision]],
    cost: Mapping[str, Mapping[Precision, float]],
    part: Sequence[str],
) -> Scorer:
    recipe, objective = context.recipe, context.plugins.objective
    engine, sampler = _engine(context, part), context.recordings.sampler_of("noise")
    rolls = objective.steps_ahead > 0
    if recipe.early_drop is not None and (rolls or objective.whole_batches):
        name = recipe.objective.name
        raise BenchError(f"objective '{name}' drops no candidate early: remove early_drop")
    if rolls:
        stepper = Stepper(sampler.schedule, context.job.realization)
        return build_rollout(engine, choices, objective, stepper)
    scorer = JointScorer(engine, choices, cost, objective, recipe.early_drop)
    if objective.span == 1 or sampler.schedule.learned_variance:
        return scorer
    read = sampler.channels  # the sampler reads these channels alone
    distance = objective.distance
    return replace(scorer, distance=lambda x, y: distance(x[:, :, :read], y[:, :read]))


def _engine(context: JobContext, part: Sequence[str]) -> Engine:
    recipe, plugins, base = context.recipe, context.plugins, context.job.budget.precision

    def outside(group: SearchableGroup, inputs: int, batch: int) -> Layer:
        if part and group.name not in part:
            return group.at(base)
        seed = image_seed(context.job.realization, f"environment/{group.name}", batch)
        return plugins.environment.layer(group, base, inputs, seed)

    span = plugins.objective.span
    size = context.job.protocol.micro_batch if recipe.early_drop is None else BATCH
    return Engine(
        context.model.transformer,
        context.groups,
        context.quantizer(),
        context.recordings.inputs(span),
        EngineSettings(
            adaln=Precision.parse(recipe.adaln),
            attention_bits=recipe.attention_bits,
            outside=outside,
            batch=span * max(1, size // span),
            device=context.resources.device,
        ),
    )
