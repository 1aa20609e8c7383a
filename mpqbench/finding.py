"""The search stage of a job: from a recipe to a problem with scores, and from it an allocation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .models.chain import Layer
from .models.groups import Group
from .models.loading import DiTModel, skeleton
from .models.sampling import image_seed
from .precision import FULL, Allocation, Precision
from .progress import LINE_EVERY_SECONDS, Reporter
from .quant.apply import TRAINED_STEPS
from .quant.build import Builder
from .quant.ranges import Clock
from .recipe import Job
from .records.store import RecordStore
from .resources import Resources
from .search.cells import Cell
from .search.counted import choices_within, measures
from .search.engine import Engine
from .search.problem import Partial, Problem
from .search.scoring import JointScorer
from .search.setup import build_engine
from .search.trace import Trace, write_notes
from .stages import Calibration

Notes = Mapping[str, Sequence[Mapping[str, Sequence[Any]]]]


@dataclass(frozen=True)
class Found:
    """An allocation of all groups, what the search spent in forwards, its trace and its notes."""

    allocation: Allocation
    spent: float
    trace: Trace
    notes: Notes = field(default_factory=dict)

    def write(self, store: RecordStore, job: str) -> None:
        """The allocation of ``job``; its trace and notes, where there are any."""
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
    recipe, budget = job.recipe, job.budget
    own = choices_within(budget, [Precision.parse(text) for text in recipe.choices])
    names = [group.name for group in groups if group.searchable]
    choices = dict.fromkeys(names, own)
    costs = measures(
        skeleton(model.transformer.config),
        groups,
        budget,
        own,
        adaln=Precision.parse(recipe.adaln),
        weight_format=recipe.weight_format,
        activation_format=recipe.activation_format,
    )

    def scorer() -> JointScorer:
        objective = resources.registry.create("objective", recipe.objective)
        engine = _engine(job, model, groups, calibration, objective, resources)
        return JointScorer(engine, choices, costs[0].table, objective)

    problem = Problem(
        names,
        choices,
        costs,
        budget,
        scorer=_Lazy(scorer, f"searching {recipe.name} {budget}", reporter),
        allowance=math.inf if recipe.evaluations is None else recipe.evaluations,
        seed=image_seed(job.seed, "search", 0),
    )
    searcher = resources.registry.create("searcher", recipe.searcher)
    found = problem.checked(searcher.search(problem))
    fixed = Precision.parse(recipe.adaln)
    whole = Allocation({g.name: found.get(g.name, fixed) for g in groups})
    return Found(whole, problem.spent, problem.trace, problem.notes)


def _engine(
    job: Job,
    model: DiTModel,
    groups: list[Group],
    calibration: Calibration,
    objective: Any,
    resources: Resources,
) -> Engine:
    recipe, create = job.recipe, resources.registry.create
    environment = create("environment", recipe.environment)

    def outside(cell: Cell, inputs: int, batch: int) -> Layer:
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
    )
    return build_engine(
        model.transformer,
        groups,
        build,
        resources.statistics(model, job.protocol, job.seed).calibration(),
        adaln=Precision.parse(recipe.adaln),
        attention_bits=recipe.attention_bits,
        outside=outside,
        batch=job.protocol.micro_batch,
        distance=getattr(objective, "distance", None),
        device=resources.device,
    )


class _Lazy:
    """A scorer that is built when the first score is asked for, and tells how far it is.

    ``uniform`` never asks, so a method without a search needs no calibration.
    """

    def __init__(self, make: Callable[[], JointScorer], title: str, reporter: Reporter) -> None:
        self._make, self._title, self._reporter = make, title, reporter
        self._scored, self._began, self._told = 0, time.monotonic(), time.monotonic()

    @cached_property
    def _scorer(self) -> JointScorer:
        return self._make()

    def table(self) -> tuple[Mapping[str, np.ndarray], float]:
        """As ``JointScorer.table``."""
        return self._scorer.table()

    def table_price(self) -> float:
        """As ``JointScorer.table_price``."""
        return self._scorer.table_price()

    def price(self, allocation: Partial) -> float:
        """As ``JointScorer.price``."""
        return self._scorer.price(allocation)

    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """As ``JointScorer.scores``, with a line every ten seconds."""
        found = self._scorer.scores(allocations)
        self._scored += len(allocations)
        now = time.monotonic()
        if now - self._told >= LINE_EVERY_SECONDS:
            self._told = now
            line = f"{self._scored} scorings after {now - self._began:.0f} s"
            self._reporter.say(f"  {self._title}: {line}")
        return found
