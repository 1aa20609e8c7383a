"""A problem of costs alone, counted on a transformer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ..cost import budget_limit, group_macs
from ..models.groups import Group
from ..precision import FULL, Budget, Precision
from .measures import Measure
from .problem import Problem

WEIGHT_CHOICES = (2, 3, 4, 5, 6, 8)
ACTIVATION_CHOICES = (3, 4, 5, 6, 8)  # 2-bit activations on a min-max grid leave nothing to rank


class CountedProblem(Problem):
    """The searchable groups of ``transformer`` in network order, bounded in BitOPs.

    ``choices`` are the precisions each may take; left empty, they are all pairs of
    ``WEIGHT_CHOICES`` and ``ACTIVATION_CHOICES`` and the budget's own precision. A floating-point
    budget sets no bound and leaves one choice, floating point.
    """

    def __init__(
        self,
        transformer: nn.Module,
        groups: Sequence[Group],
        budget: Budget,
        choices: Sequence[Precision] = (),
        seed: int = 0,
    ) -> None:
        macs = group_macs(transformer, groups)
        own = choices_within(budget, choices)
        measure = bitops(macs, own, budget)
        super().__init__(tuple(macs), dict.fromkeys(macs, own), [measure], budget, seed=seed)


def bitops(macs: dict[str, int], choices: Sequence[Precision], budget: Budget) -> Measure:
    """BitOPs of one forward of one image; exact integers below 2^53."""
    table = {
        group: {p: float(count * p.weight_bits * p.activation_bits) for p in choices}
        for group, count in macs.items()
    }
    limit = budget_limit(sum(macs.values()), budget)
    return Measure("bitops", "BitOPs", table, math.inf if limit is None else limit)


def choices_within(budget: Budget, given: Sequence[Precision]) -> tuple[Precision, ...]:
    """Without repetitions, in ascending order of bits per MAC."""
    if budget.precision.is_full:
        return (FULL,)
    pairs = [Precision(w, a) for w in WEIGHT_CHOICES for a in ACTIVATION_CHOICES]
    chosen = set(given) or {*pairs, budget.precision}
    return tuple(sorted(chosen, key=lambda p: (p.weight_bits * p.activation_bits, p.weight_bits)))
