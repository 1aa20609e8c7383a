"""The problem that a searcher sees: choices, costs, bounds and scores, with all scoring counted."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import BenchError, Exhausted, unknown
from ..core.precision import Allocation, Budget, Precision
from ..dit.groups import check_allocation
from .arrays import Measure
from .feasible import fitting_uniforms

if TYPE_CHECKING:
    import pandas as pd

Partial = Mapping[str, Precision]
ROUNDING = 1e-9  # of an allowance or a price: sums of forwards are rounded
COLUMNS = ("evaluation", "forwards", "seconds", "groups", "cost", "fits", "score", "best")


class Scorer(ABC):
    """The source of scores: a model, or numbers computed before."""

    choices: Mapping[str, Sequence[Precision]]

    @property
    def resumed_seconds(self) -> float:
        """Seconds that the scores which a stopped search left so far once took."""
        return 0.0

    @abstractmethod
    def scores(self, allocations: Sequence[Partial]) -> tuple[np.ndarray, float]:
        """Return joint scores (n,), and the forwards taken, which candidates may share."""

    @abstractmethod
    def price(self, allocation: Partial) -> float:
        """Return the most forwards that scoring ``allocation`` can take."""

    def table(self, afford: float = math.inf) -> tuple[Mapping[str, np.ndarray], float]:
        """Return additive scores by group in the order of its choices, and the forwards taken.

        Here the joint score of each group alone. Raises Exhausted where the table takes more than
        ``afford``, which is checked only where ``table_price`` is not known in advance.
        """
        alone = [{group: p} for group, choices in self.choices.items() for p in choices]
        scores, forwards = self.scores(alone)
        ends = np.cumsum([len(choices) for choices in self.choices.values()])[:-1]
        return dict(zip(self.choices, np.split(scores, ends), strict=True)), forwards

    def table_price(self) -> float:
        """Return the most forwards that ``table`` can take."""
        return sum(self.price({g: ps[0]}) * len(ps) for g, ps in self.choices.items())


@dataclass
class Trace:
    """Rows of a search in the order of scoring.

    ``evaluation`` counts from 1; ``forwards`` and ``seconds`` are the totals when the score was
    known, among them ``earlier`` seconds before the search was stopped; ``groups`` is the number
    that the allocation covers, ``fits`` whether it keeps every limit, and ``best`` the lowest score
    so far of a complete allocation that fits (NaN before the first).
    """

    complete: int  # groups of a complete allocation
    rows: list[tuple[int, float, float, int, float, bool, float, float]] = field(
        default_factory=list
    )
    best: float = float("nan")
    earlier: float = 0.0
    _start: float = field(default_factory=time.perf_counter)

    def add(self, forwards: float, groups: int, cost: float, fits: bool, score: float) -> bool:
        """Add one scored allocation and return whether it is the best so far."""
        first = math.isnan(self.best) and not math.isnan(score)
        better = groups == self.complete and fits and (first or score < self.best)
        if better:
            self.best = score
        seconds = time.perf_counter() - self._start + self.earlier
        self.rows.append(
            (len(self.rows) + 1, forwards, seconds, groups, cost, fits, score, self.best)
        )
        return better

    def table(self) -> "pd.DataFrame":
        """Return the rows as a table with ``COLUMNS``."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(COLUMNS))


def notes_table(parts: Sequence[Mapping[str, Sequence[Any]]]) -> "pd.DataFrame":
    """Return one table of notes, its parts one after another."""
    import pandas as pd

    return pd.concat([pd.DataFrame(dict(part)) for part in parts], ignore_index=True)


@dataclass(eq=False)
class Problem:
    """A search problem over ``groups``: implements ``contracts.SearchProblem``, where more is said.

    ``precisions`` are the choices of each group, cheapest first in the first of ``measures``.
    Without a ``scorer`` there are costs but no scores. ``rng`` is seeded by ``seed`` alone. With
    ``uniform_first``, which every job's search has, the first complete allocations that are scored
    are the uniform ones that fit.
    """

    groups: Sequence[str]
    precisions: Mapping[str, Sequence[Precision]]
    measures: Sequence[Measure]
    budget: Budget
    _: KW_ONLY
    scorer: Scorer | None = None
    allowance: float = math.inf
    seed: InitVar[int] = 0
    uniform_first: bool = False

    def __post_init__(self, seed: int) -> None:
        self.groups, self.measures = tuple(self.groups), tuple(self.measures)
        self.units: Sequence[str] = tuple(measure.unit for measure in self.measures)
        self.spent, self.rng = 0.0, np.random.default_rng(seed)
        self.trace = Trace(len(self.groups))
        self.notes: dict[str, list[Mapping[str, Sequence[Any]]]] = {}
        self.remarks: list[str] = []
        self._choices = {group: tuple(self.precisions[group]) for group in self.groups}
        self._costs = {
            group: np.array([[m.table[group][p] for m in self.measures] for p in ps], dtype=float)
            for group, ps in self._choices.items()
        }
        self._table: Mapping[str, np.ndarray] | None = None
        self._best: Allocation | None = None
        self._joint: dict[Allocation, float] = {}  # scores of complete allocations

    def choices(self, group: str) -> Sequence[Precision]:
        """Raises BenchError for an unknown group, as all methods do."""
        if group not in self._choices:
            raise unknown("group", group, self._choices)
        return self._choices[group]

    def costs(self, group: str) -> np.ndarray:
        self.choices(group)
        return self._costs[group].copy()

    def limits(self) -> np.ndarray:
        return np.array([measure.limit for measure in self.measures])

    def cost(self, allocation: Partial) -> float:
        self._check_choices(allocation)
        return self.measures[0].of(allocation)

    def limit(self) -> float:
        return self.measures[0].limit

    def fits(self, allocation: Partial) -> bool:
        self._check_choices(allocation)
        return all(measure.of(allocation) <= measure.limit for measure in self.measures)

    def table(self) -> Mapping[str, np.ndarray]:
        """Return additive scores by group, paid for once."""
        if self._table is None:
            scorer = self._needed()
            price = scorer.table_price()
            self._afford(price)
            try:
                self._table, forwards = scorer.table(self.allowance - self.spent)
            except Exhausted:
                self.spent = self.allowance  # the table was not finished
                raise
            self._spend(forwards, price or math.inf)
            for group, choices in self._choices.items():
                columns: dict[str, Any] = {
                    "group": [group] * len(choices),
                    "precision": [str(precision) for precision in choices],
                    "cost": self._costs[group][:, 0],
                    "score": self._table[group],
                }
                self.note("table", columns)
        return {group: scores.copy() for group, scores in self._table.items()}

    def score(self, allocation: Partial) -> float:
        return float(self.score_many([allocation])[0])

    def score_many(self, allocations: Sequence[Partial]) -> np.ndarray:
        """Return joint scores (n,).

        Raises Exhausted where the allowance does not pay for all, after as many as possible were
        scored and kept in ``trace`` and ``best``.
        """
        for allocation in allocations:
            self._check_choices(allocation)
        given = [each for each in allocations if len(each) == len(self.groups)]
        if self.uniform_first and given and not self._joint:
            self._score_all([each for each in fitting_uniforms(self) if each not in given])
        return self._score_all(allocations)

    def _score_all(self, allocations: Sequence[Partial]) -> np.ndarray:
        scorer = self._needed()
        found: list[np.ndarray] = [np.empty(0)]
        rest = list(allocations)
        while rest:
            # Prices are upper bounds: what a batch did not spend may pay for some of the rest.
            count = self._affordable(scorer, rest)
            if not count:
                self._afford(scorer.price(rest[0]))
            before = self.spent
            scores, forwards = scorer.scores(rest[:count])
            self._spend(forwards, sum(map(scorer.price, rest[:count])))
            self.trace.earlier = scorer.resumed_seconds
            self._note(rest[:count], scores, before)
            found, rest = [*found, scores], rest[count:]
        return np.concatenate(found)

    def price(self, allocation: Partial) -> float:
        """Return the most forwards that scoring ``allocation`` can take."""
        return self._needed().price(allocation)

    def table_price(self) -> float:
        """Return the most forwards that ``table`` can take, 0 where that is not declared."""
        return self._needed().table_price()

    def joint_score(self, allocation: Allocation) -> float:
        """Return the joint score of a complete allocation, which is free if it was scored."""
        return self._joint[allocation] if allocation in self._joint else self.score(allocation)

    @property
    def has_table(self) -> bool:
        """Whether the additive scores are known, and free."""
        return self._table is not None

    def best(self) -> Allocation | None:
        return self._best

    def note(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add rows to ``notes[table]``. Raises BenchError where columns differ in length."""
        if len({len(column) for column in columns.values()}) != 1:
            raise BenchError(f"the columns of note '{table}' differ in length")
        self.notes.setdefault(table, []).append(columns)

    def remark(self, sentence: str) -> None:
        """Add to ``remarks``, once."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def checked(self, allocation: Partial) -> Allocation:
        """Return ``allocation`` in network order. Raises BenchError for other groups or choices."""
        check_allocation(self.groups, allocation)
        self._check_choices(allocation)
        return Allocation({group: allocation[group] for group in self.groups})

    def _check_choices(self, allocation: Partial) -> None:
        for group, precision in allocation.items():
            if precision not in self.choices(group):
                valid = ", ".join(map(str, self.choices(group)))
                raise BenchError(f"group {group} cannot take {precision} (valid: {valid})")

    def _needed(self) -> Scorer:
        if self.scorer is None:
            raise BenchError("this problem has costs and no scores: give the recipe an objective")
        return self.scorer

    def _spend(self, forwards: float, price: float) -> None:
        """Add to what is spent, which never exceeds the allowance."""
        if forwards > price * (1 + ROUNDING):
            raise BenchError(f"scores took {forwards:.6g} forwards, above their price {price:.6g}")
        self.spent = min(self.spent + forwards, self.allowance)

    def _afford(self, price: float) -> None:
        if self.spent + price > self.allowance * (1 + ROUNDING):
            raise Exhausted(
                f"the search has spent {self.spent:.4g} of {self.allowance:.4g} forwards"
            )

    def _affordable(self, scorer: Scorer, allocations: Sequence[Partial]) -> int:
        """Return how many of ``allocations``, from the first on, are sure to be affordable."""
        if math.isinf(self.allowance):
            return len(allocations)
        total = self.spent + np.cumsum([scorer.price(allocation) for allocation in allocations])
        return int((total <= self.allowance * (1 + ROUNDING)).sum())

    def _note(self, allocations: Sequence[Partial], scores: np.ndarray, before: float) -> None:
        """Add rows to the trace; the forwards of a batch are spread evenly over its rows."""
        each = (self.spent - before) / len(allocations)
        for number, (allocation, score) in enumerate(zip(allocations, scores, strict=True), 1):
            cost, fits = self.cost(allocation), self.fits(allocation)
            if len(allocation) == len(self.groups):
                whole = Allocation({group: allocation[group] for group in self.groups})
                self._joint.setdefault(whole, float(score))
            if self.trace.add(before + number * each, len(allocation), cost, fits, float(score)):
                self._best = whole
