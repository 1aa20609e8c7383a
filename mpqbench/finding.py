"""The search stage of a job: from a recipe to a problem with scores, and from it an allocation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from . import __version__
from .cost import Operator
from .errors import BenchError, Exhausted, Infeasible
from .models.chain import Layer
from .models.groups import Group
from .models.loading import DiTModel, skeleton
from .models.sampling import Sampler, image_seed
from .precision import FULL, Allocation, Precision
from .progress import LINE_EVERY_SECONDS, Reporter
from .quant.apply import TRAINED_STEPS
from .quant.branch import branch_operators, share_of
from .quant.build import Builder
from .quant.ranges import Clock
from .recipe import Job, Recipe, digest_of
from .records.store import RecordStore
from .resources import Resources
from .search import race
from .search.cells import Cell
from .search.counted import choices_within, measures
from .search.engine import Engine
from .search.problem import Partial, Problem, Scorer
from .search.rollout import build_rollout
from .search.scoring import JointScorer
from .search.setup import build_engine
from .search.table_store import StoredTable, TableStore
from .search.trace import Trace, write_notes
from .stages import Calibration

Notes = Mapping[str, Sequence[Mapping[str, Sequence[Any]]]]


@dataclass(frozen=True)
class Found:
    """An allocation of all groups, what the search spent in forwards, its trace and its notes.

    ``borrowed`` are the seconds that a table took which was found on disk: a search costs the same
    whether or not another one came before it.
    """

    allocation: Allocation
    spent: float
    trace: Trace
    notes: Notes = field(default_factory=dict)
    borrowed: float = 0.0

    def write(self, store: RecordStore, job: str) -> None:
        """The allocation of ``job``; its trace and notes, where there are any."""
        store.clear_traces(job)
        store.write_allocation(job, self.allocation.to_json())
        if self.trace.rows:
            self.trace.write(store.trace_path(job))
        for name, parts in self.notes.items():
            write_notes(store.trace_path(job, name), parts)


def find_allocation(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    calibration: Calibration,
    resources: Resources,
    reporter: Reporter,
) -> Found:
    """The searcher's allocation of the searchable groups, the recipe's policy for the others.

    Scores come from the calibration inputs; the record's quality is measured on others. Raises
    Infeasible, and BenchError where the searcher breaks its contract.
    """
    if job.budget.is_unbounded:
        return Found(Allocation({group.name: FULL for group in groups}), 0.0, Trace(0))
    problem, scorer = search_problem(job, model, groups, calibration, resources, reporter)
    searcher = resources.registry.create("searcher", job.recipe.searcher)
    try:
        found = problem.checked(searcher.search(problem))
    except Infeasible as error:
        raise Infeasible(f"{error}{share_of(_branches(job, model, groups, resources))}") from error
    problem.trace.delay(scorer.borrowed)
    fixed = Precision.parse(job.recipe.adaln)
    whole = Allocation({g.name: found.get(g.name, fixed) for g in groups})
    return Found(whole, problem.spent, problem.trace, problem.notes, scorer.borrowed)


def _branches(
    job: Job, model: DiTModel, groups: list[Group], resources: Resources
) -> Mapping[str, Sequence[Operator]]:
    """What counts against the budget beside the layers, by group."""
    if not job.recipe.branch_in_budget:
        return {}
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
    own = choices_within(budget, [Precision.parse(text) for text in recipe.choices])
    names = part or [group.name for group in groups if group.searchable]
    choices = dict.fromkeys(names, own)
    costs = measures(
        skeleton(model.transformer.config),
        groups,
        budget,
        own,
        adaln=Precision.parse(recipe.adaln),
        weight_format=recipe.weight_format,
        activation_format=recipe.activation_format,
        branches=_branches(job, model, groups, resources),
    )
    if part:
        costs = [measure.without(part, budget.precision) for measure in costs]

    def scorer() -> Scorer:
        objective = resources.registry.create("objective", recipe.objective)
        engine = _engine(job, model, groups, calibration, objective, resources, part)
        if getattr(objective, "needs_trajectory", False):
            if recipe.early_drop is not None:
                name = recipe.objective.name
                raise BenchError(f"objective '{name}' drops no candidate early: remove early_drop")
            schedule = Sampler(model, job.protocol, job.seed, resources.device).schedule
            adaln, seed = Precision.parse(recipe.adaln), job.seed
            return build_rollout(
                engine, choices, objective, groups, schedule, adaln=adaln, seed=seed
            )
        return JointScorer(engine, choices, costs[0].table, objective, recipe.early_drop)

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


def _table_mark(
    job: Job,
    model: DiTModel,
    choices: Sequence[Precision],
    part: Sequence[str],
    resources: Resources,
) -> str:
    """Digest of everything an additive table depends on: of the recipe, all but the searcher."""
    names = ("transform", "rounding", "branch", "objective", "environment")
    formats = ("weight_format", "activation_format", "attention_bits", "adaln", "early_drop")
    recipe = job.recipe.model_dump(mode="json", include={*names, *formats})
    plain = Recipe(name="table", **{name: getattr(job.recipe, name) for name in names})
    inputs = resources.statistics_mark(model, job.protocol, job.seed)
    return digest_of(
        {
            "version": __version__,
            "inputs": inputs,
            "recipe": recipe,
            "plugins": resources.registry.source_digest(plain),
            "choices": [str(precision) for precision in choices],
            "base": str(job.budget.precision),
            "part": list(part),
        }
    )


def _engine(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    calibration: Calibration,
    objective: Any,
    resources: Resources,
    part: Sequence[str],
) -> Engine:
    recipe, create = job.recipe, resources.registry.create
    environment = create("environment", recipe.environment)

    def outside(cell: Cell, inputs: int, batch: int) -> Layer:
        if part and cell.name not in part:
            return cell.at(job.budget.precision)
        seed = image_seed(job.seed, f"environment/{cell.name}", batch)
        return environment.layer(cell, job.budget.precision, inputs, seed)

    fmt = recipe.activation_format
    build = Builder(
        create("transform", recipe.transform),
        create("rounding", recipe.rounding),
        recipe.weight_format,
        fmt,
        calibration.layer_data,
        calibration.ranges,
        Clock(fmt.time_groups, TRAINED_STEPS),
        create("branch", recipe.branch),
    )
    return build_engine(
        model.transformer,
        groups,
        build,
        resources.statistics(model, job.protocol, job.seed).calibration(),
        adaln=Precision.parse(recipe.adaln),
        attention_bits=recipe.attention_bits,
        outside=outside,
        batch=job.protocol.micro_batch if recipe.early_drop is None else race.BATCH,
        distance=getattr(objective, "distance", None),
        device=resources.device,
    )


class LazyScorer:
    """A scorer that is built when the first score is asked for, and tells how far it is.

    ``uniform`` never asks, so a method without a search needs no calibration. Tables are kept in
    ``store`` under ``mark``; ``borrowed`` are the seconds that a table found there once took.
    """

    def __init__(
        self,
        make: Callable[[], Scorer],
        store: TableStore,
        mark: str,
        title: str,
        reporter: Reporter,
    ) -> None:
        self.borrowed = 0.0
        self._make, self._title, self._reporter = make, title, reporter
        self._store, self._mark = store, mark
        self._scored, self._began, self._told = 0, time.monotonic(), time.monotonic()

    @cached_property
    def _scorer(self) -> Scorer:
        return self._make()

    @cached_property
    def _stored(self) -> StoredTable | None:
        return self._store.read(self._mark)

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """As ``Scorer.table``, computed or found."""
        stored = self._stored
        if stored is not None:
            if stored.forwards > afford:
                raise Exhausted(f"the table takes {stored.forwards:.4g} forwards")
            self.borrowed += stored.seconds
            return stored.table, stored.forwards
        price, began = self._scorer.table_price(), time.monotonic()
        table, forwards = self._scorer.table(afford)
        made = StoredTable(table, forwards, time.monotonic() - began, price)
        self._store.write(self._mark, made)
        return table, forwards

    def table_price(self) -> float:
        """As ``Scorer.table_price``."""
        stored = self._stored
        return self._scorer.table_price() if stored is None else stored.price

    def price(self, allocation: Partial) -> float:
        """As ``Scorer.price``."""
        return self._scorer.price(allocation)

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """As ``Scorer.scores``, with a line every ten seconds."""
        found = self._scorer.scores(allocations)
        self._scored += len(allocations)
        now = time.monotonic()
        if now - self._told >= LINE_EVERY_SECONDS:
            self._told = now
            line = f"{self._scored} scorings after {now - self._began:.0f} s"
            self._reporter.say(f"  {self._title}: {line}")
        return found
