"""Effects of a factorial design with seeds as blocks: weighted sums of cells and their intervals.

Every effect is a linear contrast, a sum of weights times the values of the cells. The contrast is
taken on each seed and on each jackknife replicate, where the noise that cells share cancels. An
effect is estimated from the seeds that have all of its cells; no value is imputed.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from ...core.errors import BenchError
from ...records.schema import JobRecord, Metric, Score
from ...records.statistics import FEWEST_SEEDS, combined_half_width, mean_half_width, spread
from .contrasts import Contrast, contrasts
from .design import Scale
from .plan import AblationCell, FactorialPlan

# Realizations by method and seed, of one budget.
Runs = Mapping[tuple[str, int], Sequence[JobRecord]]
RESPONSES: tuple[Metric, ...] = ("fd", "output_mse", "noise_mse")
NUMBERS = ("effect", "low", "high", "images_low", "images_high", "seeds_low", "seeds_high")


@dataclass(frozen=True, eq=False)
class Response:
    """Measured ``values`` (seeds, *levels), NaN for a cell without one.

    ``replicates`` (seeds, groups, *levels) are the values without each jackknife group of images;
    there are no groups if no cell has them. Both are means over ``realized`` (seeds, realizations,
    *levels), which is there if every cell and seed has the same number of realizations, 2 or more.
    """

    seeds: tuple[int, ...]
    values: np.ndarray
    replicates: np.ndarray
    realized: np.ndarray | None = None

    def logarithms(self) -> Self:
        """Return the logarithms, whose effects are ratios; all values must be positive."""
        realized = None if self.realized is None else np.log(self.realized)
        values, replicates = np.log(self.values), np.log(self.replicates)
        if realized is not None:
            values = realized.mean(axis=1)
        return replace(self, values=values, replicates=replicates, realized=realized)

    def between(self, needed: np.ndarray, weights: np.ndarray) -> list[list[tuple[float, int]]]:
        """Return for each seed the variance of a contrast's mean between realizations, if known."""
        if self.realized is None:
            return [[] for _ in self.seeds]
        found = self.realized[:, :, needed] @ weights
        count = found.shape[1]
        return [[(float(row.var(ddof=1)) / count, count - 1)] for row in found]


@dataclass(frozen=True)
class Effect:
    """An effect's value, and the half-widths of two 95 % intervals around it, NaN without.

    ``images``: delete-group jackknife of the contrast in each seed, with the variance between
    realizations where there are several (``combined_half_width``), the seeds taken as independent,
    ``sqrt(sum h^2) / S``. ``over_seeds``: t interval of the S values of the contrast, from three
    seeds on; each seed has images of its own, so it holds both kinds of noise.
    """

    value: float
    images: float
    over_seeds: float
    seeds: tuple[int, ...]

    @property
    def half(self) -> float:
        """The wider of the two half-widths."""
        return float(np.fmax(self.images, self.over_seeds))


def estimate(contrast: Contrast, response: Response) -> Effect | None:
    """Estimate the effect from the seeds that have all of its cells; ``None`` if none has."""
    needed, weights = contrast.needed, contrast.weights[contrast.needed]
    cells = response.values[:, needed]
    complete = np.isfinite(cells).all(axis=1)
    if not complete.any():
        return None
    values = cells[complete] @ weights
    images = over_seeds = math.nan
    replicates = response.replicates[complete][:, :, needed] @ weights
    if replicates.size and np.isfinite(replicates).all():
        between = response.between(needed, weights)
        parts = [part for part, whole in zip(between, complete, strict=True) if whole]
        images = mean_half_width(map(combined_half_width, replicates.tolist(), parts))
    if len(values) >= FEWEST_SEEDS:
        over_seeds = spread(values.tolist()).high - float(values.mean())
    seeds = tuple(np.array(response.seeds)[complete].tolist())
    return Effect(float(values.mean()), images, over_seeds, seeds)


def missing(contrast: Contrast, response: Response) -> list[tuple[int, ...]]:
    """Return the level numbers of the needed cells that some seed lacks, most frequent first."""
    absent = ~np.isfinite(response.values)
    counts = np.where(contrast.needed, absent.sum(axis=0), 0)
    cells = sorted(zip(*np.nonzero(counts), strict=True), key=lambda cell: -counts[cell])
    return [tuple(map(int, cell)) for cell in cells]


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
    by_budget: dict[str, dict[tuple[str, int], list[JobRecord]]] = {}
    for record in sorted(records, key=lambda record: record.realization):
        if not record.is_full_precision:
            runs = by_budget.setdefault(record.budget, {})
            runs.setdefault((record.method, record.seed), []).append(record)
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


def response_of(plan: FactorialPlan, runs: Runs, metric: Metric) -> Response | None:
    """Return ``metric`` of every cell and seed; ``None`` if no job has it.

    A cell of a seed has a value where all of its realizations are done.
    """
    seeds = sorted({seed for _, seed in runs})
    scores: dict[tuple[Any, ...], list[Score]] = {}
    for (at, seed), (place, cell) in itertools.product(enumerate(seeds), plan.places.items()):
        records = runs.get((cell.recipe.name, seed), ())
        if records and all(r.status == "done" and metric in r.scores for r in records):
            scores[at, place] = [record.scores[metric] for record in records]
    if not scores:
        return None
    shape = [len(levels) for levels in plan.factors.values()]
    counts = {len(each) for each in scores.values()}
    realized = np.full((len(seeds), max(counts), *shape), np.nan)
    most = max(len(score.replicates) for each in scores.values() for score in each)
    groups = most if most > 1 else 0
    values = np.full((len(seeds), *shape), np.nan)
    replicates = np.full((len(seeds), groups, *shape), np.nan)
    for (at, place), each in scores.items():
        values[at, *place] = np.mean([score.value for score in each])
        realized[at][(slice(len(each)), *place)] = [score.value for score in each]
        if all(len(score.replicates) == groups for score in each):
            means = np.mean([score.replicates for score in each], axis=0)
            replicates[at][(slice(None), *place)] = means
    alike = len(counts) == 1 and max(counts) > 1
    return Response(tuple(seeds), values, replicates, realized if alike else None)


def _row(plan: FactorialPlan, runs: Runs, contrast: Contrast, response: Response) -> dict[str, Any]:
    effect = estimate(contrast, response)
    row: dict[str, Any] = {"kind": contrast.kind}
    for (factor, level), suffix in zip((*contrast.at, ("", "")), ("", "_2"), strict=False):
        compared = contrast.kind in ("contrast", "alone", "joint") and factor
        row |= {f"factor{suffix}": factor, f"level{suffix}": level}
        row |= {f"versus{suffix}": plan.base[factor] if compared else ""}
    return row | _numbers(effect) | {"reason": _reason(plan, runs, contrast, response, effect)}


def _numbers(effect: Effect | None) -> dict[str, Any]:
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
    costs = {
        cell.name: [run.costs for seed in effect.seeds for run in runs[cell.recipe.name, seed]]
        for cell in needed
    }
    dear = [name for name, known in costs.items() if any(c and not c.satisfied for c in known)]
    parts = [f"without seed {', '.join(lost)}: incomplete"] if lost else []
    parts += [f"over budget: {_first_two(dear)}"] if dear else []
    return "; ".join(parts)


def _first_two(names: Sequence[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more}"


def _lack(runs: Runs, cell: AblationCell) -> str:
    found = (batch for (name, _), batch in runs.items() if name == cell.recipe.name)
    known = {record.status for batch in found for record in batch}
    return f"{cell.name} ({', '.join(sorted(known - {'done'})) or 'no value'})"
