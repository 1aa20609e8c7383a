"""The effects of a factorial design, each a sum of weights times the values of its cells."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

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
