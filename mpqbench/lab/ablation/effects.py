"""Effects of a factorial design with seeds as blocks: weighted sums of cells and their intervals.

Every effect is a linear contrast, a sum of weights times the values of the cells. The contrast is
taken on each seed and on each jackknife replicate, where the noise that cells share cancels. An
effect is estimated from the seeds that have all of its cells; no value is imputed.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Self

import numpy as np

from ...core.jackknife import half_width
from ...records.statistics import FEWEST_SEEDS, mean_half_width, spread

Kind = Literal["main", "contrast", "alone", "interaction", "joint"]
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
    mean = partial(mean_at, shape)
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


def mean_at(shape: Sequence[int], at: Mapping[int, int]) -> np.ndarray:
    """Return the weights of the mean over all cells whose axes ``at`` have these numbers."""
    weights = np.zeros(shape)
    chosen = tuple(at.get(axis, slice(None)) for axis in range(len(shape)))
    weights[chosen] = 1 / weights[chosen].size
    return weights


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
