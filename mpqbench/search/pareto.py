"""Pareto fronts of points (cost, score), their convex hulls, and four rules that thin a set.

Every rule takes costs (n,) above zero and scores (n,), both better when lower, and returns the
indices of ``min(keep, n)`` points in ascending order of cost: first those that are not dominated,
then the best of the others, as a sum of two halves may still be better with one. The rules are our
choice: TreeQ (arXiv 2512.06353) shows that a front is thinned and not how.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

PRICES = 64  # multipliers tried by ``lagrangian``
_BEYOND = 1 + 1e-6  # at a slope itself two corners tie, and the last bit would decide


@dataclass(frozen=True)
class Target:
    """Where a rule expects the best points of a node.

    ``share`` is the node's share of the budget. ``price`` is the shadow price of cost, in score,
    and ``spread`` the factor above and below the price within which ``lagrangian`` looks.
    """

    share: float
    price: float = 1.0
    spread: float = 1.0


Rule = Callable[[np.ndarray, np.ndarray, int, Target], np.ndarray]
RuleName = Literal["pareto", "pareto-window", "epsilon-bins", "lagrangian"]


def front(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the points that are not dominated, by ascending cost; of equal points the first."""
    order = np.lexsort((score, cost))
    ranked = score[order]
    before = np.concatenate(([np.inf], np.minimum.accumulate(ranked)[:-1]))
    return order[ranked < before]


def hull(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the lower convex hull of the front: all minima of ``score + price * cost``."""
    corners: list[int] = []
    for index in front(cost, score):
        while len(corners) > 1 and not _bends(cost, score, corners[-2], corners[-1], index):
            corners.pop()
        corners.append(int(index))
    return np.array(corners, dtype=int)


def pareto(cost: np.ndarray, score: np.ndarray, keep: int, target: Target) -> np.ndarray:
    """Keep the front, thinned evenly by rank; ends stay."""
    return _layered(cost, score, keep, lambda at, room: at[_ranks(len(at), room)])


def pareto_window(cost: np.ndarray, score: np.ndarray, keep: int, target: Target) -> np.ndarray:
    """Keep the front, thinned evenly in log cost; ends and both neighbours of the share stay."""
    return _layered(cost, score, keep, lambda at, room: at[evenly(cost[at], room, target.share)])


def epsilon_bins(cost: np.ndarray, score: np.ndarray, keep: int, target: Target) -> np.ndarray:
    """Keep the best score of each of ``keep`` equally wide bins of log cost, then the next best."""
    if len(cost) <= keep:
        return _by_cost(cost, np.arange(len(cost)))
    logs = np.log(cost)
    width = (logs.max() - logs.min()) / keep or 1.0
    bins = np.minimum(((logs - logs.min()) / width).astype(int), keep - 1)
    order = np.lexsort((cost, score, bins))
    starts = np.flatnonzero(np.diff(bins[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    places = np.arange(len(order)) - np.repeat(starts, sizes)  # 0: the best of its bin
    chosen = order[np.lexsort((score[order], places))[:keep]]
    return _by_cost(cost, chosen)


def lagrangian(cost: np.ndarray, score: np.ndarray, keep: int, target: Target) -> np.ndarray:
    """Keep the minima of ``score + price * cost`` over a range of prices, then near minima.

    Points are ranked by their excess over the minimum, in units of cost, at the price where the
    excess is least. Too many corners of the hull are thinned evenly in log cost.
    """
    if len(cost) <= keep:
        return _by_cost(cost, np.arange(len(cost)))
    low, high = target.price / target.spread, target.price * target.spread
    prices = np.geomspace(low, high, PRICES)
    paid = score[:, None] + prices * cost[:, None]
    excess = ((paid - paid.min(axis=0)) / prices).min(axis=1)
    corners = _by_cost(cost, np.flatnonzero(excess <= 0))
    if len(corners) > keep:
        return corners[evenly(cost[corners], keep, target.share)]
    return _by_cost(cost, np.lexsort((cost, excess))[:keep])


RULES: dict[RuleName, Rule] = {
    "pareto": pareto,
    "pareto-window": pareto_window,
    "epsilon-bins": epsilon_bins,
    "lagrangian": lagrangian,
}


def evenly(cost: np.ndarray, keep: int, share: float) -> np.ndarray:
    """Return ``keep`` positions of ascending ``cost`` (n,), about evenly spread in its logarithm.

    The point whose neighbours are closest is removed first. The two points next to ``share`` are
    removed last, and the ends before them.
    """
    logs = np.log(cost)
    after = int(np.searchsorted(cost, share, side="right"))
    beside = [at for at in (after - 1, after) if 0 <= at < len(cost)]
    wanted = dict.fromkeys([*beside, 0, len(cost) - 1])  # in order of importance
    kept, fixed = list(range(len(cost))), set(list(wanted)[:keep])
    while len(kept) > keep:
        gaps = np.diff(logs[kept], prepend=-np.inf, append=np.inf)
        room = gaps[:-1] + gaps[1:]  # between the two neighbours
        free = [at for at, index in enumerate(kept) if index not in fixed]
        kept.pop(min(free, key=lambda at: room[at]))
    return np.array(kept, dtype=int)


def shadow_price(costs: list[np.ndarray], scores: list[np.ndarray], limit: float) -> float:
    """Return the shadow price of cost: the least at which all nodes together meet ``limit``.

    Each node has costs and scores (points,) and takes its least ``score + price * cost``. Where the
    best points of all nodes fit, the price is the least slope of the hulls, above zero.
    """
    slopes = np.sort(np.concatenate([_slopes(c, s) for c, s in zip(costs, scores, strict=True)]))
    if not len(slopes):
        return 1.0
    low, high = 0, len(slopes) - 1
    while low < high:  # the least slope that fits
        middle = (low + high) // 2
        if _spent(costs, scores, slopes[middle] * _BEYOND) <= limit:
            high = middle
        else:
            low = middle + 1
    return float(slopes[low])


def _spent(costs: list[np.ndarray], scores: list[np.ndarray], price: float) -> float:
    best = [int((s + price * c).argmin()) for c, s in zip(costs, scores, strict=True)]
    return float(sum(c[at] for c, at in zip(costs, best, strict=True)))


def _slopes(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the gains in score per unit of cost along the hull."""
    corners = hull(cost, score)
    return -np.diff(score[corners]) / np.diff(cost[corners])


def _bends(cost: np.ndarray, score: np.ndarray, a: int, b: int, c: int) -> bool:
    """Return whether ``b`` lies below the line from ``a`` to ``c``."""
    along, ahead = cost[b] - cost[a], cost[c] - cost[a]
    return bool((score[b] - score[a]) * ahead < (score[c] - score[a]) * along)


def _layered(
    cost: np.ndarray, score: np.ndarray, keep: int, thin: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Keep front after front while there is room, the last one thinned."""
    left, kept = np.arange(len(cost)), np.empty(0, dtype=int)
    while len(left) and len(kept) < keep:
        layer = left[front(cost[left], score[left])]
        room = keep - len(kept)
        kept = np.concatenate((kept, layer if len(layer) <= room else thin(layer, room)))
        left = np.setdiff1d(left, layer)
    return _by_cost(cost, kept)


def _ranks(count: int, keep: int) -> np.ndarray:
    """Return ``keep`` of ``count`` ranks, evenly spread, with both ends if ``keep`` is above 1."""
    if keep == 1:
        return np.array([count // 2])
    return np.unique(np.linspace(0, count - 1, keep).round().astype(int))


def _by_cost(cost: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return indices[np.lexsort((indices, cost[indices]))]
