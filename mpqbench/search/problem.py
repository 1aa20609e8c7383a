"""The problem a searcher sees: choices, costs and a budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import nn

from ..cost import budget_limit, group_macs
from ..errors import BenchError, unknown
from ..models.groups import Group, check_allocation
from ..precision import FULL, Allocation, Budget, Precision

WEIGHT_CHOICES = (2, 3, 4, 5, 6, 8)
ACTIVATION_CHOICES = (3, 4, 5, 6, 8)  # 2-bit activations on a min-max grid leave nothing to rank


class CountedProblem:
    """A search with costs and no scores; implements ``contracts.SearchProblem``.

    ``groups`` are the names of the searchable groups in network order. ``choices`` are the
    precisions each may take; left empty, they are all pairs of ``WEIGHT_CHOICES`` and
    ``ACTIVATION_CHOICES`` and the budget's own precision. A floating-point budget sets no bound
    and leaves one choice, floating point.

    ``rng`` is seeded by ``seed`` alone; ``spent`` counts full-forward equivalents, none here.
    """

    def __init__(
        self,
        transformer: nn.Module,
        groups: Sequence[Group],
        budget: Budget,
        choices: Sequence[Precision] = (),
        seed: int = 0,
    ) -> None:
        self._macs = group_macs(transformer, groups)
        self._choices = _choices(budget, choices)
        self.groups: Sequence[str] = tuple(self._macs)
        self.budget = budget
        self.rng = np.random.default_rng(seed)
        self.spent = 0.0

    def choices(self, group: str) -> Sequence[Precision]:
        """Precisions that ``group`` may take, cheapest first. Raises BenchError if unknown."""
        if group not in self._macs:
            raise unknown("group", group, self._macs)
        return self._choices

    def cost(self, allocation: Mapping[str, Precision]) -> int:
        """BitOPs of the groups in ``allocation``, which may be partial; exact."""
        total = 0
        for group, precision in allocation.items():
            if group not in self._macs:
                raise unknown("group", group, self._macs)
            total += self._macs[group] * precision.weight_bits * precision.activation_bits
        return total

    def limit(self) -> float:
        """BitOPs of uniform budget precision over all groups; infinity without a bound."""
        limit = budget_limit(sum(self._macs.values()), self.budget)
        return math.inf if limit is None else limit

    def checked(self, allocation: Mapping[str, Precision]) -> Allocation:
        """``allocation`` in network order, whether or not it meets the budget.

        Raises BenchError where it does not cover exactly the groups or takes a precision that is
        no choice.
        """
        check_allocation(self.groups, allocation)
        for group, precision in allocation.items():
            if precision not in self._choices:
                valid = ", ".join(map(str, self._choices))
                raise BenchError(f"group {group} cannot take {precision} (valid: {valid})")
        return Allocation({group: allocation[group] for group in self.groups})


def _choices(budget: Budget, given: Sequence[Precision]) -> tuple[Precision, ...]:
    """Without repetitions, in ascending order of bits per MAC."""
    if budget.precision.is_full:
        return (FULL,)
    pairs = [Precision(w, a) for w in WEIGHT_CHOICES for a in ACTIVATION_CHOICES]
    chosen = set(given) or {*pairs, budget.precision}
    return tuple(sorted(chosen, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits)))
