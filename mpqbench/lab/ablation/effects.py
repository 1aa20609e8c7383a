"""Effects of a factorial design with seeds as blocks: weighted sums of cells and their intervals.

Every effect is a linear contrast, a sum of weights times the values of the cells. The contrast is
taken on each seed and on each jackknife replicate, where the noise that cells share cancels. An
effect is estimated from the seeds that have all of its cells; no value is imputed.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from ...core.errors import BenchError
from ...core.jackknife import half_width
from ...records.schema import JobRecord
from ...records.statistics import FEWEST_SEEDS, mean_half_width, spread
from .design import Scale
from .plan import AblationCell, FactorialPlan

Kind = Literal["main", "contrast", "alone", "interaction", "joint"]
Runs = Mapping[tuple[str, int], JobRecord]  # by method and seed, of one budget
RESPONSES = ("fd", "output_mse", "noise_mse")
NUMBERS = ("effect", "low", "high", "images_low", "images_high", "seeds_low", "seeds_high")
_ZERO = 1e-12


@dataclass(frozen=True, eq=False)
class Contrast:
    """Weights (levels of factor 1, levels of factor 2, ...) of one effect.

    ``at`` are its factors and levels. Of a factor with levels i, its base b and everything averaged
    over the factors that are not named, with equal weight for every cell:

    - ``main``: mean of i minus grand mean;
    - ``contrast``: mean of i minus mean of b;
    - ``alone``: i minus b where every other factor is at its base;
    - ``interaction`` of i and j: mean of i and j, minus that of i, minus that of j, plus the grand
      mean;
    - ``joint``: (i and j minus i and b) minus (b and j minus b and b), what the two change together
      beyond the sum of what each changes.
    """

    kind: Kind
    at: tuple[tuple[str, str], ...]
    weights: np.ndarray

    @property
    def needed(self) -> np.ndarray:
        """The cells with a weight, bool in the shape of the weights."""
        return np.abs(self.weights) > _ZERO


@dataclass(frozen=True, eq=False)
class Response:
    """Measured ``values`` (seeds, *levels), NaN for a cell without one.

    ``replicates`` (seeds, groups, *levels) are the values without each jackknife group of images;
    there are no groups if no cell has them.
    """

    seeds: tuple[int, ...]
    values: np.ndarray
    replicates: np.ndarray

    def logarithms(self) -> Self:
        """Return the logarithms, whose effects are ratios; all values must be positive."""
        return replace(self, values=np.log(self.values), replicates=np.log(self.replicates))


@dataclass(frozen=True)
class Effect:
    """An effect's value, and the half-widths of two 95 % intervals around it, NaN without.

    ``images``: delete-group jackknife of the contrast in each seed, the seeds taken as independent,
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


def contrasts(
    levels: Mapping[str, Sequence[str]], bases: Mapping[str, str], *, full: bool = True
) -> list[Contrast]:
    """Return all effects of factors with these levels, of at most two factors each.

    ``bases`` names the level of each factor that others are compared with. A design that is not
    ``full`` has only effects ``alone``.
    """
    shape, factors = tuple(map(len, levels.values())), list(levels)
    base = {at: list(levels[name]).index(bases[name]) for at, name in enumerate(factors)}

    def mean(at: Mapping[int, int]) -> np.ndarray:
        weights = np.zeros(shape)
        chosen = tuple(at.get(axis, slice(None)) for axis in range(len(shape)))
        weights[chosen] = 1 / weights[chosen].size
        return weights

    grand = mean({})
    singles, alone, doubles = [], [], []
    for axis, (factor, names) in enumerate(levels.items()):
        for i, name in enumerate(names):
            one = ((factor, name),)
            singles.append(Contrast("main", one, mean({axis: i}) - grand))
            if i != base[axis]:
                other = mean({axis: base[axis]})
                singles.append(Contrast("contrast", one, mean({axis: i}) - other))
                alone.append(Contrast("alone", one, mean(base | {axis: i}) - mean(base)))
    for a, b in itertools.combinations(range(len(shape)), 2):
        for i, j in itertools.product(range(shape[a]), range(shape[b])):
            two = ((factors[a], levels[factors[a]][i]), (factors[b], levels[factors[b]][j]))
            both, apart = mean({a: i, b: j}), mean({a: i}) + mean({b: j})
            doubles.append(Contrast("interaction", two, both - apart + grand))
            if i != base[a] and j != base[b]:
                first = mean({a: i, b: base[b]}) + mean({a: base[a], b: j})
                neither = mean({a: base[a], b: base[b]})
                doubles.append(Contrast("joint", two, both - first + neither))
    if not full:
        return alone
    return [*singles, *(alone if len(shape) > 1 else []), *doubles]


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
        images = mean_half_width(half_width(row) for row in replicates)
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
    most = max(len(score.replicates) for score in scores.values())
    groups = most if most > 1 else 0
    replicates = np.full((len(seeds), groups, *shape), np.nan)
    for (at, place), score in scores.items():
        values[at, *place] = score.value
        if len(score.replicates) == groups:
            replicates[at][(slice(None), *place)] = score.replicates
    return Response(tuple(seeds), values, replicates)


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
    return f"{cell.name} ({', '.join(sorted(known - {'done'})) or 'no value'})"
