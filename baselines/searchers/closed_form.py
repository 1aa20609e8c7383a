"""Bits from a formula: reverse water-filling on fitted sensitivities."""

from collections.abc import Sequence

import numpy as np
from pydantic import PositiveInt

from mpqbench.contracts import Searcher, SearchProblem, plugin
from mpqbench.core.precision import Allocation
from mpqbench.search.arrays import Arrays
from mpqbench.search.feasible import cheapest_feasible, search_table

from .greedy import Walk

_RATIOS = np.logspace(-6, 6, 241)  # of activation to weight sensitivity
_NEAREST_ONE_FIRST = np.argsort(np.abs(np.log(_RATIOS)), kind="stable")
_FLOOR = 1e-9  # of the table's largest score: logarithms need positive scores
_ROUNDING = 1e-20  # variances of logarithms this close are equal but for rounding


@plugin
class ClosedForm(Searcher):
    """The rate-distortion allocator (reverse water-filling, Cover and Thomas, chapter 10).

    Group l is taken to score ``s_l 4^-w + r_l s_l 4^-a`` with w weight and a activation bits; both
    factors are fitted to its table by least squares of logarithms, with ratios r_l from 1e-6 to 1e6
    tried in steps of 12%. With a price n_l for each bit, the least sum has equal ``sensitivity 4^-b
    / n_l`` everywhere, that is ``b_l = B + (log2(sensitivity_l / n_l) - mean) / 2``, for weights
    and activations alike. Bits are rounded to the nearest choice (the cheaper of two), and B is the
    largest that fits, by ``steps`` bisections; the rest of the budget is filled greedily by the
    fitted scores.

    Our simplification: n_l is the mean over choices of ``cost / (w a)`` in units of the limits,
    added over measures, though a weight bit costs more beside more activation bits.
    """

    steps: PositiveInt = 40

    def needs(self, problem: SearchProblem) -> float:
        """Return the price of the table."""
        return problem.table_price()

    def search(self, problem: SearchProblem) -> Allocation:
        """Return the rounded and filled allocation. Raises as ``search_table``."""

        def choose(arrays: Arrays, scores: Sequence[np.ndarray]) -> Allocation:
            bits = [
                np.array([(p.weight_bits, p.activation_bits) for p in c]) for c in arrays.choices
            ]
            sensitivities = fitted(scores, bits)
            start = self._rounded(arrays, bits, sensitivities)
            if start is None:
                problem.remark(
                    "no level of the formula's bits fits: the cheapest is filled greedily"
                )
                start = arrays.indices(cheapest_feasible(problem))
            model = [4.0**-each @ s for each, s in zip(bits, sensitivities, strict=True)]
            return arrays.allocation(Walk(arrays, model).promoted(start))

        return search_table(problem, choose)

    def _rounded(
        self, arrays: Arrays, bits: Sequence[np.ndarray], sensitivities: np.ndarray
    ) -> np.ndarray | None:
        """Return the choices (groups,) nearest to the formula's bits at the largest B that fits.

        ``None`` where no B was found that fits.
        """
        wanted = 0.5 * np.log2(sensitivities / _prices(arrays, bits)[:, None])
        wanted -= wanted.mean()
        most = max(each.max() for each in bits)
        low, high = -wanted.max() - most, most - wanted.min()
        best = None
        for level in (high, *(None,) * self.steps):
            at = (low + high) / 2 if level is None else level
            indices = np.array([_nearest(*pair) for pair in zip(bits, wanted + at, strict=True)])
            if arrays.fits(indices):
                best, low = indices, at
            else:
                high = at
        return best


def fitted(scores: Sequence[np.ndarray], bits: Sequence[np.ndarray]) -> np.ndarray:
    """Return sensitivities (groups, 2) to weight and activation bits, from scores at ``bits``.

    ``scores`` (choices,) and ``bits`` (choices, 2) for each group. Scores below 1e-9 of the largest
    of all count as that. Of ratios that fit equally well the one nearest to 1 is taken: where all
    choices have as many weight as activation bits, the table says nothing about the ratio.
    """
    largest = max(row.max() for row in scores)
    floor = _FLOOR * largest if largest > 0 else _FLOOR
    found = []
    for row, widths in zip(scores, bits, strict=True):
        errors = 4.0**-widths
        shapes = np.log(errors[:, 0] + _RATIOS[:, None] * errors[:, 1])  # (ratios, choices)
        rest = np.log(np.maximum(row, floor)) - shapes
        spread = rest.var(axis=1)[_NEAREST_ONE_FIRST]
        best = _NEAREST_ONE_FIRST[np.argmax(spread <= spread.min() + _ROUNDING)]
        weight = np.exp(rest[best].mean())
        found.append((weight, weight * _RATIOS[best]))
    return np.array(found)


def _prices(arrays: Arrays, bits: Sequence[np.ndarray]) -> np.ndarray:
    """Return the cost of a bit in each group, in units of the limits: (groups,)."""
    pairs = zip(arrays.relative(), bits, strict=True)
    prices = np.array([(cost.sum(axis=1) / each.prod(axis=1)).mean() for cost, each in pairs])
    least_priced = prices[prices > 0].min(initial=np.inf)
    return np.where(prices > 0, prices, least_priced if np.isfinite(least_priced) else 1.0)


def _nearest(bits: np.ndarray, wanted: np.ndarray) -> int:
    """Return the choice of ``bits`` (choices, 2), cheapest first, nearest to ``wanted`` (2,)."""
    clipped = np.clip(wanted, bits.min(axis=0), bits.max(axis=0))
    return int(np.square(bits - clipped).sum(axis=1).argmin())
