"""Responses of an ablation from its records, and the table of their effects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...core.errors import BenchError
from ...records.schema import JobRecord
from .effects import Contrast, Effect, Response, contrasts, estimate, missing
from .plan import AblationCell, FactorialPlan

if TYPE_CHECKING:
    import pandas as pd

Scale = Literal["log", "linear"]
Runs = Mapping[tuple[str, int], JobRecord]  # by method and seed, of one budget
RESPONSES = ("fd", "output_mse", "noise_mse")

NUMBERS = (
    "effect", "low", "high", "images_low", "images_high", "seeds_low", "seeds_high"
)  # fmt: skip


def effects_table(plan: FactorialPlan, records: Iterable[JobRecord], scale: Scale) -> pd.DataFrame:
    """Return a row for every effect of every response at every budget.

    On the ``log`` scale ``effect``, ``low`` and ``high`` are ratios, on the ``linear`` one
    differences. The interval is the wider of those over images and over seeds, which have columns
    ``images_`` and ``seeds_`` of their own. ``reason`` says why an effect has no value, which seeds
    are left out, and which cells are over the budget. Raises BenchError for values that have no
    logarithm.
    """
    import pandas as pd

    rows = []
    found = contrasts(plan.levels, plan.base, full=plan.full)
    for budget, metric, runs, response in _responses(plan, records, scale):
        about = {"budget": budget, "response": metric, "scale": scale}
        for contrast in found:
            row = _row(plan, runs, contrast, response)
            numbers = NUMBERS if scale == "log" else ()
            rows.append(about | row | {name: math.exp(row[name]) for name in numbers})
    return pd.DataFrame(rows)


def cell_means(
    plan: FactorialPlan, records: Iterable[JobRecord], scale: Scale
) -> dict[tuple[str, str], np.ndarray]:
    """Return the mean of every cell (*levels) by budget and response, geometric on ``log``.

    Means are over the seeds that all cells have. Without such a seed they are over all seeds, and
    NaN for cells that lack one.
    """
    means = {}
    for budget, metric, _, response in _responses(plan, records, scale):
        planned = np.zeros(response.values.shape[1:], dtype=bool)
        for cell in plan.cells:
            planned[places_of(plan, cell)] = True
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
    for budget, runs in by_budget.items():
        for metric in RESPONSES:
            response = response_of(plan, runs, metric)
            if response is not None:
                if scale == "log":
                    response = _logarithms(plan, response, metric, budget)
                yield budget, metric, runs, response


def response_of(plan: FactorialPlan, runs: Runs, metric: str) -> Response | None:
    """Return ``metric`` of every cell and seed; ``None`` if no job has it."""
    seeds = sorted({seed for _, seed in runs})
    shape = tuple(len(factor.levels) for factor in plan.factors)
    scores = {
        (at, places_of(plan, cell)): score
        for cell in plan.cells
        for at, seed in enumerate(seeds)
        if (score := _score(runs, cell, seed, metric)) is not None
    }
    if not scores:
        return None
    values = np.full((len(seeds), *shape), np.nan)
    groups = max(len(score.replicates) for score in scores.values())
    replicates = np.full((len(seeds), groups, *shape), np.nan) if groups > 1 else None
    for (at, places), score in scores.items():
        values[at][places] = score.value
        if replicates is not None and len(score.replicates) == groups:
            for group, value in enumerate(score.replicates):
                replicates[at, group][places] = value
    return Response(tuple(seeds), values, replicates)


def places_of(plan: FactorialPlan, cell: AblationCell) -> tuple[int, ...]:
    """Return the level numbers of ``cell``."""
    names = plan.levels.values()
    return tuple(own.index(level) for own, level in zip(names, cell.levels, strict=True))


def _score(runs: Runs, cell: AblationCell, seed: int, metric: str) -> Any:
    record = runs.get((cell.recipe.name, seed))
    if record is None or record.status != "done":
        return None
    return {str(name): score for name, score in record.scores.items()}.get(metric)


def _logarithms(plan: FactorialPlan, response: Response, metric: str, budget: str) -> Response:
    known = [response.values] + ([] if response.replicates is None else [response.replicates])
    for numbers in known:
        if (numbers[np.isfinite(numbers)] <= 0).any():
            raise BenchError(
                f"{metric} of the ablation of '{plan.method.name}' at {budget} is not positive "
                "everywhere: use --scale linear"
            )
    return response.logarithms()


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
    nothing = {"interval": "", "seeds": 0}
    if effect is None:
        return dict.fromkeys(NUMBERS, math.nan) | nothing
    row: dict[str, Any] = {"effect": effect.value}
    halves = {"": effect.half, "images_": effect.images, "seeds_": effect.over_seeds}
    for name, half in halves.items():
        width = math.nan if half is None else half
        row |= {f"{name}low": effect.value - width, f"{name}high": effect.value + width}
    kind = "" if effect.half is None else "images" if effect.half == effect.images else "seeds"
    return row | {"interval": kind, "seeds": len(effect.seeds)}


def _reason(
    plan: FactorialPlan, runs: Runs, contrast: Contrast, response: Response, effect: Effect | None
) -> str:
    cells = {places_of(plan, cell): cell for cell in plan.cells}
    if effect is None:
        lacking = [_lack(runs, cells[place]) for place in missing(contrast, response)]
        return f"no seed has all its cells: missing {_first_two(lacking)}"
    lost = [str(seed) for seed in response.seeds if seed not in effect.seeds]
    needed = [cell for place, cell in cells.items() if contrast.needed[place]]
    dear = [cell.name for cell in needed if not _within_budget(runs, cell, effect.seeds)]
    parts = [f"without seed {', '.join(lost)}: incomplete"] if lost else []
    parts += [f"over budget: {_first_two(dear)}"] if dear else []
    return "; ".join(parts)


def _first_two(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}"


def _within_budget(runs: Runs, cell: AblationCell, seeds: Iterable[int]) -> bool:
    costs = [runs[cell.recipe.name, seed].costs for seed in seeds]
    return all(own is None or own.satisfied for own in costs)


def _lack(runs: Runs, cell: AblationCell) -> str:
    own = [r.status for (name, _), r in runs.items() if name == cell.recipe.name]
    states = sorted({state for state in own if state != "done"})
    return f"{cell.name} ({', '.join(states)})" if states else f"{cell.name} (no value)"
