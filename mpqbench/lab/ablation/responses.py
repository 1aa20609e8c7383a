"""Responses of an ablation from its records, and the table of their effects."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from ...core.errors import BenchError
from ...records.schema import JobRecord
from .effects import Contrast, Effect, Response, contrasts, estimate, missing
from .plan import AblationCell, FactorialPlan

Scale = Literal["log", "linear"]
Runs = Mapping[tuple[str, int], JobRecord]  # by method and seed, of one budget
RESPONSES = ("fd", "output_mse", "noise_mse")

NUMBERS = ("effect", "low", "high", "images_low", "images_high", "seeds_low", "seeds_high")


def effects_table(plan: FactorialPlan, records: Iterable[JobRecord], scale: Scale) -> pd.DataFrame:
    """Return a row for every effect of every response at every budget.

    On the ``log`` scale ``effect``, ``low`` and ``high`` are ratios, on the ``linear`` one
    differences. The interval is the wider of those over images and over seeds, which have columns
    ``images_`` and ``seeds_`` of their own. ``reason`` says why an effect has no value, which seeds
    are left out, and which cells are over the budget. Raises BenchError for values that have no
    logarithm.
    """
    rows = [
        {"budget": budget, "response": metric, "scale": scale}
        | _row(plan, runs, contrast, response)
        for budget, metric, runs, response in _responses(plan, records, scale)
        for contrast in contrasts(plan.levels, plan.base, full=plan.full)
    ]
    table = pd.DataFrame(rows)
    if scale == "log" and rows:
        table[list(NUMBERS)] = table[list(NUMBERS)].map(math.exp)
    return table


def cell_means(
    plan: FactorialPlan, records: Iterable[JobRecord], scale: Scale
) -> dict[tuple[str, str], np.ndarray]:
    """Return the mean of every cell (*levels) by budget and response, geometric on ``log``.

    Means are over the seeds that all cells have. Without such a seed they are over all seeds, and
    NaN for cells that lack one.
    """
    means: dict[tuple[str, str], np.ndarray] = {}
    planned = np.zeros([len(levels) for levels in plan.factors.values()], dtype=bool)
    planned[tuple(np.transpose(list(plan.places)))] = True
    for budget, metric, _, response in _responses(plan, records, scale):
        complete = np.isfinite(response.values[:, planned]).all(axis=1)
        values = response.values[complete if complete.any() else slice(None)].mean(axis=0)
        means[budget, metric] = np.exp(values) if scale == "log" else values
    return means


def _responses(
    plan: FactorialPlan, records: Iterable[JobRecord], scale: Scale
) -> Iterator[tuple[str, str, Runs, Response]]:
    """Yield budget, metric, the jobs of the budget, and their response on ``scale``."""
    by_budget: dict[str, dict[tuple[str, int], JobRecord]] = {}
    for record in records:
        if not record.is_full_precision:
            by_budget.setdefault(record.budget, {})[record.method, record.seed] = record
    for (budget, runs), metric in itertools.product(by_budget.items(), RESPONSES):
        response = response_of(plan, runs, metric)
        if response is None:
            continue
        if scale == "log":
            if (response.values <= 0).any() or (response.replicates <= 0).any():
                raise BenchError(
                    f"{metric} of the ablation of '{plan.method.name}' at {budget} is not "
                    "positive everywhere: use --scale linear"
                )
            response = response.logarithms()
        yield budget, metric, runs, response


def response_of(plan: FactorialPlan, runs: Runs, metric: str) -> Response | None:
    """Return ``metric`` of every cell and seed; ``None`` if no job has it."""
    seeds = sorted({seed for _, seed in runs})
    scores = {}
    for (at, seed), (place, cell) in itertools.product(enumerate(seeds), plan.places.items()):
        record = runs.get((cell.recipe.name, seed))
        if record is not None and record.status == "done" and metric in record.scores:
            scores[at, place] = record.scores[metric]
    if not scores:
        return None
    shape = [len(levels) for levels in plan.factors.values()]
    values = np.full((len(seeds), *shape), np.nan)
    groups = max(len(score.replicates) for score in scores.values())
    groups = groups if groups > 1 else 0
    replicates = np.full((len(seeds), groups, *shape), np.nan)
    for (at, place), score in scores.items():
        values[at, *place] = score.value
        if len(score.replicates) == groups:
            replicates[at][(slice(None), *place)] = score.replicates
    return Response(tuple(seeds), values, replicates)


def _row(plan: FactorialPlan, runs: Runs, contrast: Contrast, response: Response) -> dict[str, Any]:
    effect = estimate(contrast, response)
    row: dict[str, Any] = {"kind": contrast.kind}
    for at, suffix in enumerate(("", "_2")):
        factor, level = contrast.at[at] if at < len(contrast.at) else ("", "")
        compared = contrast.kind in ("contrast", "alone", "joint") and factor
        row |= {f"factor{suffix}": factor, f"level{suffix}": level}
        row |= {f"versus{suffix}": plan.base[factor] if compared else ""}
    return row | _numbers(effect) | {"reason": _reason(plan, runs, contrast, response, effect)}


def _numbers(effect: Effect | None) -> dict[str, Any]:
    """Return the columns of an effect, on the scale of its estimate."""
    if effect is None:
        return dict.fromkeys(NUMBERS, math.nan) | {"interval": "", "seeds": 0}
    row: dict[str, Any] = {"effect": effect.value}
    halves = {"": effect.half, "images_": effect.images, "seeds_": effect.over_seeds}
    for name, half in halves.items():
        row |= {f"{name}low": effect.value - half, f"{name}high": effect.value + half}
    widest = "images" if effect.half == effect.images else "seeds"
    kind = "" if math.isnan(effect.half) else widest
    return row | {"interval": kind, "seeds": len(effect.seeds)}


def _reason(
    plan: FactorialPlan, runs: Runs, contrast: Contrast, response: Response, effect: Effect | None
) -> str:
    cells = plan.places
    if effect is None:
        lacking = [_lack(runs, cells[place]) for place in missing(contrast, response)]
        return f"no seed has all its cells: missing {_first_two(lacking)}"
    lost = [str(seed) for seed in response.seeds if seed not in effect.seeds]
    needed = [cell for place, cell in cells.items() if contrast.needed[place]]
    costs = {cell.name: [runs[cell.recipe.name, s].costs for s in effect.seeds] for cell in needed}
    dear = [name for name, known in costs.items() if any(c and not c.satisfied for c in known)]
    parts = [f"without seed {', '.join(lost)}: incomplete"] if lost else []
    parts += [f"over budget: {_first_two(dear)}"] if dear else []
    return "; ".join(parts)


def _first_two(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}"


def _lack(runs: Runs, cell: AblationCell) -> str:
    known = {record.status for (name, _), record in runs.items() if name == cell.recipe.name}
    states = sorted(known - {"done"})
    return f"{cell.name} ({', '.join(states)})" if states else f"{cell.name} (no value)"
