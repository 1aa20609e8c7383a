"""Rank correlation of every objective in every environment with measured distances."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.precision import Allocation, Budget
from ...core.recipe import PluginChoice, Recipe
from ...core.registry import Registry
from ...core.suite import Job, Suite
from ...core.yaml_text import dump_yaml
from ...dit.own import of_model
from ...job.resources import Resources, Session
from ...job.search_stage import search_problem
from ...records.agreement import FEWEST, agreement
from ...records.frame import frame_csv
from ...records.schema import JobRecord, Metric
from ...search.arrays import Arrays
from ...search.problem import Problem
from ...search.tabular import additive_score
from ..suite import plan, run_suite
from .searchers import check_base, open_job

# Beside every registered objective and environment with its defaults.
MORE_OBJECTIVES = (
    PluginChoice(name="layer-mse", params={"scale": "relative"}),
    PluginChoice(name="layer-mse", params={"scale": "decibel"}),
)
MORE_ENVIRONMENTS = (
    PluginChoice(name="eng", params={"noise": 0.25}),
    PluginChoice(name="eng", params={"noise": 0.5}),
)
CLEAN = PluginChoice(name="clean")
TRUTHS: tuple[Metric, ...] = ("fd", "output_mse")
FEWEST_MOVES = 2
_TRIES = 200  # draws of a move before a walk is given up


@dataclass(frozen=True)
class Proxy:
    """An objective in an environment, as a sum over groups ("table") or of the whole ("joint").

    A joint score has no environment, as a complete allocation covers all groups; nor has an
    objective with a table of its own, which is computed at full precision.
    """

    objective: PluginChoice
    environment: PluginChoice
    form: str

    @property
    def name(self) -> str:
        """The name in tables."""
        choices = [choice for choice in (self.objective, self.environment) if choice != CLEAN]
        shown = [" ".join([choice.name, *map(str, choice.params.values())]) for choice in choices]
        return f"{' in '.join(shown)}, {'joint' if self.form == 'joint' else 'sum'}"


def run_proxies(
    suite: Suite, session: Session, count: int
) -> tuple[pd.DataFrame, list[JobRecord], list[Path]]:
    """Sample ``count`` allocations for the suite's one method, measure them, rank every proxy.

    Returns the table of ``agreements``, the records it ranks by, and the files written:
    ``proxies.csv`` (rank correlations) and ``scores.csv`` (what every proxy and measurement
    says of every allocation). What is done is not done again. Raises BenchError as ``single_job``,
    and if fewer than ``FEWEST`` allocations were measured.
    """
    job, folder = single_job(suite, session), session.store.folder
    sampled, records = measure_allocations(suite, session, count)
    done = [r for r in records if not r.is_full_precision and r.status == "done"]
    if len(done) < FEWEST:
        raise BenchError(f"{len(done)} allocations were measured: {FEWEST} are needed")
    allocations = [sampled[record.method] for record in done]
    ranked, scores = list(proxies(session.registry)), {}
    for number, proxy in enumerate(ranked, 1):
        session.reporter.say(f"[{number}/{len(ranked)}] {proxy.name}")
        scores[proxy.name] = proxy_scores(proxy, job, allocations, session.resources)
    table = pd.DataFrame([row for half in (False, True) for row in agreements(scores, done, half)])
    raw = pd.DataFrame({"method": [r.method for r in done], **scores, **measured(done)})
    texts = {"proxies.csv": frame_csv(table, "%.6g"), "scores.csv": frame_csv(raw, "%.8g")}
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())
    return table, done, [folder / name for name in texts]


def measure_allocations(
    suite: Suite, session: Session, count: int
) -> tuple[dict[str, Allocation], list[JobRecord]]:
    """Sample ``count`` allocations for the suite's one method and measure those not measured yet.

    Returns them by the names of their methods, and their records. Writes ``suite.yaml``, by which
    they can be measured again. Raises BenchError as ``single_job``.
    """
    job, folder = single_job(suite, session), session.store.folder
    problem, _ = search_problem(open_job(job, session.resources))
    rng, digits = np.random.default_rng([job.seed, count]), len(str(count))
    every = enumerate(sample_allocations(problem, count, rng), 1)
    sampled = {f"sample-{number:0{digits}d}": allocation for number, allocation in every}
    methods = tuple(_given(job.recipe, *each) for each in sampled.items())
    suite = suite.model_copy(update={"methods": methods})
    text = dump_yaml(suite.model_dump(mode="json"), width=1000)
    text = f"# The sampled allocations of a study of proxies.\n{text}"
    write_atomic(folder / "suite.yaml", text.encode())
    return sampled, run_suite(plan(suite, session.registry, session.device), session)


def single_job(suite: Suite, session: Session) -> Job:
    """Return the one job of a suite, around which allocations are sampled.

    Raises BenchError if the suite has several models, budgets, seeds, classes of formats or
    realizations, or a budget that names no precision.
    """
    for name in ("models", "budgets", "seeds"):
        if (given := len(getattr(suite, name))) != 1:
            raise BenchError(f"study proxies takes one of {name}, not {given}")
    ((name, method),), (model,), (seed,) = suite.named.items(), suite.models, suite.seeds
    if len(suite.formats) > 1 or suite.realizations_of(name) > 1:
        raise BenchError("study proxies takes one class of formats and one realization")
    budget = Budget.parse(suite.budgets[0])
    check_base(budget.precision)
    ((_, recipe),) = suite.in_classes(session.registry.method(method)).items()
    return Job(model, recipe, budget, seed, of_model(suite.protocol, model), session.device)


def _given(base: Recipe, name: str, allocation: Allocation) -> dict[str, Any]:
    choice = PluginChoice(name="given", params={"allocation": allocation.to_json()})
    return base.model_copy(update={"name": name, "searcher": choice}).model_dump(mode="json")


def proxies(registry: Registry) -> Iterator[Proxy]:
    """Yield every objective in every environment that it depends on, and every joint score."""
    named = [PluginChoice(name=entry.name) for entry in registry.entries("objective")]
    around = [PluginChoice(name=entry.name) for entry in registry.entries("environment")]
    for objective in [*named, *MORE_OBJECTIVES]:
        plugin = registry.create("objective", objective)
        if plugin.has_table:
            yield Proxy(objective, CLEAN, "table")
        elif not plugin.joint_only:
            for environment in [*around, *MORE_ENVIRONMENTS]:
                yield Proxy(objective, environment, "table")
        if plugin.has_distance:
            yield Proxy(objective, CLEAN, "joint")


def proxy_scores(
    proxy: Proxy, job: Job, allocations: Sequence[Allocation], resources: Resources
) -> np.ndarray:
    """Return the scores (n,) of ``proxy`` on the job's calibration inputs."""
    parts = {"objective": proxy.objective, "environment": proxy.environment}
    recipe = job.recipe.model_copy(update={**parts, "name": proxy.objective.name})
    problem, _ = search_problem(open_job(replace(job, recipe=recipe), resources))
    if proxy.form == "joint":
        return problem.score_many(allocations)
    table = problem.table()
    return np.array([additive_score(problem, table, each) for each in allocations])


def agreements(
    scores: Mapping[str, np.ndarray], records: Sequence[JobRecord], better_half: bool = False
) -> list[dict[str, Any]]:
    """Return Kendall's tau of every proxy with each of ``measured``, a row for each proxy.

    ``behind`` is the difference to the best proxy's tau. ``scores`` are in the order of
    ``records``, by name of the proxy. With ``better_half`` only the allocations in the lower half
    of the first measurement count, as a search ends among them.
    """
    truths = measured(records)
    chosen = np.arange(len(records))
    if better_half:
        order = np.argsort(next(iter(truths.values())), kind="stable")
        chosen = order[: (len(records) + 1) // 2]
    part = "better half" if better_half else "all"
    rows: list[dict[str, Any]] = [
        {"proxy": name, "allocations": len(chosen), "part": part} for name in scores
    ]
    for truth, values in truths.items():
        found = [agreement(score[chosen], values[chosen]) for score in scores.values()]
        best = max(found)
        for row, agreed in zip(rows, found, strict=True):
            behind, half = agreed.behind(best)
            row |= {f"tau_{truth}": agreed.tau, f"tau_{truth}_ci": agreed.ci}
            row |= {f"behind_{truth}": behind, f"behind_{truth}_ci": half}
    return rows


def measured(records: Sequence[JobRecord]) -> dict[str, np.ndarray]:
    """Return the measurements (n,) in ``TRUTHS`` that all records have."""
    return {
        name: np.array([record.scores[name].value for record in records])
        for name in TRUTHS
        if all(name in record.scores for record in records)
    }


def sample_allocations(problem: Problem, count: int, rng: np.random.Generator) -> list[Allocation]:
    """Return ``count`` distinct allocations within the limits, from nearly uniform to mixed.

    Each starts from the budget's own precision everywhere. Half of the changed groups get a
    cheaper choice, the others a more expensive one as far as the budget allows, drawn uniformly.
    The number of changed groups grows in equal ratios from two to all (our choice), because
    searches end near the uniform allocation. No objective takes part, as its rank correlation
    would then be measured on allocations that it chose. Raises BenchError if the budget's
    precision is no choice of some group, and if there are too few allocations.
    """
    arrays = Arrays.of(problem)
    base = problem.budget.precision
    for group, choices in zip(arrays.groups, arrays.choices, strict=True):
        if base not in choices:
            raise BenchError(f"{base} is no choice of group {group}: samples start from it")
    start = np.array([choices.index(base) for choices in arrays.choices])
    found: dict[Allocation, None] = {}
    for moves in np.geomspace(FEWEST_MOVES, len(arrays.groups), count):
        for _ in range(_TRIES):
            each = arrays.allocation(_walk(arrays, start, round(float(moves)), rng))
            if each not in found:
                found[each] = None
                break
        else:
            raise BenchError(f"there are too few allocations around {base} to sample {count}")
    return list(found)


def _walk(arrays: Arrays, start: np.ndarray, moves: int, rng: np.random.Generator) -> np.ndarray:
    indices = start.copy()
    groups = rng.permutation(len(start))[:moves]
    for number, group in enumerate(groups):
        costs, now = arrays.costs[group], arrays.costs[group][start[group]]
        if number < (moves + 1) // 2:
            is_allowed = (costs <= now).all(axis=1) & (costs < now).any(axis=1)
        else:  # choices that cost more and still fit
            total = arrays.total(indices) - now + costs
            is_allowed = (arrays.excess(total) <= 0) & (costs[:, 0] > now[0])
        if is_allowed.any():
            indices[group] = rng.choice(np.flatnonzero(is_allowed))
    return indices
