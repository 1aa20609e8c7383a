"""The multiple-choice knapsack problem: one choice for each group, least score, limits kept."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..core.errors import BenchError
from .arrays import Arrays

TIME_LIMIT = 60.0  # seconds
_RANGE = 1e4  # the largest score that the solver sees; its absolute gap is 1e-6
_TRIES = 10  # solutions slightly above a limit that are excluded before the limit is tightened


def solve(
    scores: Sequence[np.ndarray],
    arrays: Arrays,
    *,
    exclude: Iterable[Sequence[int] | np.ndarray] = (),
    time_limit: float = TIME_LIMIT,
) -> np.ndarray | None:
    """Return the indices (groups,) of the least sum of ``scores`` that fits; ``None`` if none fits.

    ``scores`` are (choices,) for each group, finite, of any sign and in any order. Solutions equal
    to one of ``exclude`` are passed over. The solver is HiGHS, with no gap allowed; of several
    solutions with the least sum one version of HiGHS always returns the same.

    Each run of HiGHS stops after ``time_limit`` seconds with the best solution it has, which may
    then not be the optimum: ``arrays.remark`` is told. Two of its tolerances are made up for. It
    stops within 1e-10 of the largest score: where the largest score is far above the sum found,
    choices that alone exceed the sum are dropped, and the rest is solved again in finer units. It
    keeps constraints to 1e-6: costs that are multiples of a common divisor are counted in units of
    it, which is exact. Other solutions above a limit are excluded and the program is solved again,
    ten times at most, and then with limits lowered by 1e-6, which may miss an optimum that close to
    them and is remarked too.
    Raises BenchError where the time ends without a solution.
    """
    excluded = [np.asarray(each, dtype=int) for each in exclude]
    gains = [each - each.min() for each in scores]
    found = _solve_within(gains, arrays, excluded, time_limit, math.inf)
    if found is None:
        return None
    total = _sum(gains, found)
    if 10 * total >= max(each.max() for each in gains):
        return found
    finer = _solve_within(gains, arrays, excluded, time_limit, total)
    return finer if finer is not None and _sum(gains, finer) < total else found


def optima(
    programs: Iterable[Sequence[np.ndarray]], arrays: Arrays, time_limit: float = TIME_LIMIT
) -> list[np.ndarray]:
    """Return the optimum of each of ``programs`` (scores), each other than those before it.

    Ends where nothing else fits. Raises as ``solve``.
    """
    found: list[np.ndarray] = []
    for scores in programs:
        optimum = solve(scores, arrays, exclude=found, time_limit=time_limit)
        if optimum is None:
            break
        found.append(optimum)
    return found


def perturbed(
    scores: Sequence[np.ndarray], count: int, noise: float, rng: np.random.Generator
) -> Iterator[Sequence[np.ndarray]]:
    """Yield ``scores``, then ``count`` - 1 copies times exp(``noise`` z), z standard normal."""
    for number in range(count):
        random = number > 0 and noise > 0
        yield [s * np.exp(noise * rng.normal(size=len(s))) for s in scores] if random else scores


def common_divisor(values: np.ndarray) -> float:
    """Return the greatest common divisor of whole numbers below 2^53, 0 for any others."""
    if not (np.isfinite(values).all() and (values == np.round(values)).all()):
        return 0.0
    return float(math.gcd(*(abs(int(value)) for value in values.ravel())))


def undominated(scores: np.ndarray, costs: np.ndarray, spare: int) -> np.ndarray:
    """Return the choices that an optimum may need: at most ``spare`` others dominate them.

    A choice dominates another one if it is no worse in score (choices,) and in all costs (choices,
    measures); of equal ones the first does. With ``spare`` solutions excluded, more than ``spare``
    replacements leave one that is allowed.
    """
    all_of = np.column_stack([scores, costs])
    no_worse = (all_of[:, None] <= all_of[None]).all(axis=2)  # [i, j]: i is no worse than j
    number = np.arange(len(scores))
    equal = no_worse & no_worse.T
    no_worse &= ~equal | (number[:, None] < number)  # of equals, the earlier one
    return np.flatnonzero(no_worse.sum(axis=0) <= spare)


def _sum(scores: Sequence[np.ndarray], indices: np.ndarray) -> float:
    return float(sum(each[at] for each, at in zip(scores, indices, strict=True)))


def _solve_within(
    gains: Sequence[np.ndarray],
    arrays: Arrays,
    excluded: Sequence[np.ndarray],
    time_limit: float,
    most: float,
) -> np.ndarray | None:
    """Return a solution that keeps the limits exactly, of choices that gain up to ``most``."""
    excluded = list(excluded)
    costs, left = _rows(arrays)
    for attempt in range(_TRIES + 2):
        if attempt == _TRIES:
            arrays.remark("the integer program was solved with limits lowered by 1e-6")
        limits = left - 1e-6 * max(0, attempt - _TRIES + 1) * np.abs(left)
        kept = [undominated(g, c, len(excluded)) for g, c in zip(gains, costs, strict=True)]
        kept = [at[g[at] <= most * (1 + 1e-9)] for g, at in zip(gains, kept, strict=True)]
        objective = np.concatenate([g[at] for g, at in zip(gains, kept, strict=True)])
        objective *= _RANGE / (objective.max() or 1.0)
        above = np.concatenate([c[at] for c, at in zip(costs, kept, strict=True)])
        rows, bounds = _constraints(kept, above, limits, excluded)
        solution, optimal = _highs(objective, rows, bounds, len(kept), time_limit)
        if solution is None:
            return None
        if not optimal:
            arrays.remark(
                f"the solver of the integer program stopped after {time_limit:g} s, and its "
                "solution is the best found by then"
            )
        parts = np.split(solution, np.cumsum([len(at) for at in kept])[:-1])
        found = np.array([at[part.argmax()] for at, part in zip(kept, parts, strict=True)])
        if arrays.fits(found):
            return found
        excluded.append(found)
    raise BenchError("the integer program's solutions exceed the limits: scale the costs")


def _rows(arrays: Arrays) -> tuple[list[np.ndarray], np.ndarray]:
    """Return bounded costs above each group's least and what the limits leave, in good units."""
    bounded = np.isfinite(arrays.limits)
    base = [costs[:, bounded].min(axis=0) for costs in arrays.costs]
    above = [costs[:, bounded] - low for costs, low in zip(arrays.costs, base, strict=True)]
    left = arrays.limits[bounded] - np.sum(base, axis=0)
    every = np.concatenate(above)
    unit = np.array([common_divisor(column) for column in every.T])
    unit = np.where(unit > 0, unit, every.max(axis=0, initial=0.0))
    unit = np.where(unit > 0, unit, 1.0)
    return [costs / unit for costs in above], left / unit


def _constraints(
    kept: Sequence[np.ndarray],
    costs: np.ndarray,
    limits: np.ndarray,
    excluded: Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (rows, columns) of the program and their upper bounds (rows,).

    The columns are the choices ``kept`` of all groups. A row for each group, whose choices add up
    to one, comes before a row for each limit and one for each excluded solution.
    """
    owner = np.repeat(np.arange(len(kept)), [len(choices) for choices in kept])
    position = np.concatenate(kept)
    one_each = owner[None] == np.arange(len(kept))[:, None]
    not_again = [position == each[owner] for each in excluded]
    rows = np.vstack([one_each.astype(float), costs.T, *not_again])
    most_alike = np.full(len(excluded), len(kept) - 1.0)
    return rows, np.concatenate([np.ones(len(kept)), limits, most_alike])


def _highs(
    objective: np.ndarray, rows: np.ndarray, bounds: np.ndarray, equal: int, time_limit: float
) -> tuple[np.ndarray | None, bool]:
    """Return x (columns,) in {0, 1} of the least ``objective``, and whether that is certain.

    x is ``None`` if there is none. Of ``rows`` times x the first ``equal`` equal their ``bounds``,
    the others are at most that.
    """
    import highspy
    from scipy.sparse import csc_array

    matrix, count = csc_array(rows), len(objective)
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = count, len(rows)
    program.col_cost_ = objective
    program.col_lower_, program.col_upper_ = np.zeros(count), np.ones(count)
    program.integrality_ = [highspy.HighsVarType.kInteger] * count
    program.row_lower_ = np.where(np.arange(len(rows)) < equal, bounds, -np.inf)
    program.row_upper_ = bounds
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = matrix.indptr
    program.a_matrix_.index_, program.a_matrix_.value_ = matrix.indices, matrix.data
    # The public class Highs prints its version when it is made, before output can be turned off.
    solver = highspy._Highs()  # type: ignore[attr-defined]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.setOptionValue("time_limit", float(time_limit))
    solver.passModel(program)
    solver.run()
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return None, True
    if not np.isfinite(solver.getInfo().objective_function_value):
        message = f"the integer program found nothing within {time_limit:g} s: raise time_limit"
        raise BenchError(message)
    solution = np.array(solver.getSolution().col_value)
    return solution, status == highspy.HighsModelStatus.kOptimal
