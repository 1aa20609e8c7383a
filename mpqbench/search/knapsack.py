"""The multi-choice knapsack, exactly: one choice for each group, least sum of scores that fits."""

from __future__ import annotations

import ctypes
import math
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ..core.errors import BenchError
from .feasible import Arrays

TIME_LIMIT = 60.0  # seconds
_RANGE = 1e4  # the largest score the solver sees, whose absolute gap is 1e-6
_TRIES = 10  # solutions a hair above a limit that are excluded before the limit is tightened


def solve(
    scores: Sequence[np.ndarray],
    arrays: Arrays,
    *,
    exclude: Iterable[Sequence[int] | np.ndarray] = (),
    time_limit: float = TIME_LIMIT,
) -> np.ndarray | None:
    """Indices (groups,) of the least sum of ``scores`` within every limit; ``None`` if none fits.

    ``scores`` are (choices,) for each group, finite, of any sign and in any order. Solutions equal
    to one of ``exclude`` are passed over. Solved by HiGHS (scipy.optimize.milp) with no gap; each
    of its runs stops after ``time_limit`` seconds with the best it has, which may then not be the
    least. HiGHS also stops within 1e-10 of the largest score: where that is far above the sum that
    was found, choices that alone exceed this sum are dropped and the rest solved again in finer
    units. It keeps constraints to 1e-6 only. Where costs are multiples of a common divisor they
    are counted in it, and that is exact. Else a solution above a limit is excluded and the program
    solved again, ten times at most, and then with limits lower by 1e-6, which may miss an optimum
    that close to them. Raises BenchError where the time ends without a solution.
    """
    excluded = [np.asarray(each, dtype=int) for each in exclude]
    gains = [own - own.min() for own in scores]
    found = _solve_within(gains, arrays, excluded, time_limit, math.inf)
    if found is None:
        return None
    total = _sum(gains, found)
    if 10 * total >= max(own.max() for own in gains):
        return found
    finer = _solve_within(gains, arrays, excluded, time_limit, total)
    return finer if finer is not None and _sum(gains, finer) < total else found


def optima(
    scores: Sequence[np.ndarray],
    arrays: Arrays,
    count: int,
    *,
    noise: float,
    rng: np.random.Generator,
    time_limit: float = TIME_LIMIT,
) -> list[np.ndarray]:
    """Up to ``count`` distinct solutions that fit, the optimum first.

    The others are optima of scores multiplied by random factors exp(``noise`` z), z standard
    normal; with ``noise`` 0 they are the next best sums. Raises as ``solve``.
    """
    found: list[np.ndarray] = []
    while len(found) < count:
        own = scores
        if found and noise:
            own = [s * np.exp(noise * rng.normal(size=len(s))) for s in scores]
        each = solve(own, arrays, exclude=found, time_limit=time_limit)
        if each is None:
            break
        found.append(each)
    return found


def common_divisor(values: np.ndarray) -> float:
    """The largest number of which all ``values`` are multiples, 0 where they are all zero.

    Exact for whole numbers below 2^53; 0 also where a value is no whole number.
    """
    if not (np.isfinite(values).all() and (values == np.round(values)).all()):
        return 0.0
    return float(math.gcd(*(abs(int(value)) for value in values.ravel())))


def _sum(scores: Sequence[np.ndarray], indices: np.ndarray) -> float:
    return float(sum(own[at] for own, at in zip(scores, indices, strict=True)))


def _solve_within(
    gains: Sequence[np.ndarray],
    arrays: Arrays,
    excluded: Sequence[np.ndarray],
    time_limit: float,
    most: float,
) -> np.ndarray | None:
    """A solution that keeps the limits to the last digit, of choices that gain up to ``most``."""
    excluded = list(excluded)
    for attempt in range(_TRIES + 2):
        tightened = 1e-6 * max(0, attempt - _TRIES + 1)
        found = _solve_once(gains, arrays, excluded, time_limit, tightened, most)
        if found is None or arrays.fits(found):
            return found
        excluded.append(found)
    raise BenchError("the integer program's solutions exceed the limits: scale the costs")


def _solve_once(
    gains: Sequence[np.ndarray],
    arrays: Arrays,
    excluded: Sequence[np.ndarray],
    time_limit: float,
    tightened: float,
    most: float,
) -> np.ndarray | None:
    from scipy.optimize import Bounds, LinearConstraint, milp

    costs, limits = _rows(arrays)
    limits = limits - tightened * np.abs(limits)
    kept = [useful(g, c, len(excluded)) for g, c in zip(gains, costs, strict=True)]
    kept = [at[own[at] <= most * (1 + 1e-9)] for own, at in zip(gains, kept, strict=True)]
    owner = np.repeat(np.arange(len(kept)), [len(own) for own in kept])
    objective = np.concatenate([own[at] for own, at in zip(gains, kept, strict=True)])
    objective *= _RANGE / (objective.max() or 1.0)
    one_each = (owner[None] == np.arange(len(kept))[:, None]).astype(float)
    constraints = [LinearConstraint(one_each, 1, 1)]
    if len(limits):
        rows = np.concatenate([c[at] for c, at in zip(costs, kept, strict=True)]).T
        constraints.append(LinearConstraint(rows, -np.inf, limits))
    position = np.concatenate(kept)
    for each in excluded:
        row = (position == each[owner]).astype(float)
        constraints.append(LinearConstraint(row, -np.inf, len(kept) - 1))
    options = {"mip_rel_gap": 0.0, "time_limit": time_limit}
    with _native_output_dropped():
        result = milp(
            objective,
            constraints=constraints,
            integrality=np.ones(len(objective)),
            bounds=Bounds(0, 1),
            options=options,
        )
    if result.status == 2:
        return None
    if result.x is None:
        raise BenchError(
            f"the integer program found nothing within {time_limit:g} s: raise time_limit"
        )
    return np.array([at[result.x[owner == group].argmax()] for group, at in enumerate(kept)])


def _rows(arrays: Arrays) -> tuple[list[np.ndarray], np.ndarray]:
    """Bounded costs above each group's least, and what is left of the limits, in good units."""
    bounded = np.isfinite(arrays.limits)
    base = [own[:, bounded].min(axis=0) for own in arrays.costs]
    above = [own[:, bounded] - low for own, low in zip(arrays.costs, base, strict=True)]
    left = arrays.limits[bounded] - np.sum(base, axis=0)
    every = np.concatenate(above)
    unit = np.array([common_divisor(column) for column in every.T])
    unit = np.where(unit > 0, unit, every.max(axis=0, initial=0.0))
    unit = np.where(unit > 0, unit, 1.0)
    return [own / unit for own in above], left / unit


_one_at_a_time = threading.Lock()  # standard output is one for all threads


@contextmanager
def _native_output_dropped() -> Iterator[None]:
    """What native code writes to standard output inside goes nowhere; standard error stays.

    HiGHS repairs a solution that breaks a row after presolve by a linear program of its own, and
    announces that by a bare printf, which none of its options turns off. Its errors come back in
    the result.
    """
    libc = ctypes.CDLL("ucrtbase" if os.name == "nt" else None)
    with _one_at_a_time:
        libc.fflush(None)
        try:
            kept = os.dup(1)
        except OSError:  # it is closed: nothing can be written
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        try:
            yield
        finally:
            libc.fflush(None)  # into nowhere, before standard output is back
            os.dup2(kept, 1)
            os.close(kept)


def useful(scores: np.ndarray, costs: np.ndarray, spare: int) -> np.ndarray:
    """Choices that an optimum may need: at most ``spare`` others are no worse in all respects.

    With ``spare`` solutions excluded, more than that many replacements leave one that is allowed.
    """
    all_of = np.column_stack([scores, costs])
    no_worse = (all_of[:, None] <= all_of[None]).all(axis=2)  # [i, j]: i is no worse than j
    number = np.arange(len(scores))
    equal = no_worse & no_worse.T
    no_worse &= ~equal | (number[:, None] < number)  # of equals, the earlier one
    return np.flatnonzero(no_worse.sum(axis=0) <= spare)
