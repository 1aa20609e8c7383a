"""The costs that a budget bounds, counted on a transformer, and the choices within a budget."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, Unpack

from torch import nn

from ..core.errors import BenchError
from ..core.formats import PER_CHANNEL, PER_TOKEN, ActivationFormat, WeightFormat
from ..core.precision import FULL, Budget, Precision
from ..core.recipe import BARE_NEIGHBOURS, NEIGHBOURS
from ..cost.count import CostReport, CountOptions, Operator, budget_limit, count, group_macs
from ..dit.groups import Group, uniform_allocation
from .measures import Measure
from .problem import Problem

WEIGHT_CHOICES = (2, 3, 4, 5, 6, 8)
ACTIVATION_CHOICES = (3, 4, 5, 6, 8)  # 2-bit activations on a min-max grid leave nothing to rank


class CountedProblem(Problem):
    """The searchable groups of ``transformer`` in network order, with costs but no scores.

    ``choices`` as in ``choices_within``.
    """

    def __init__(
        self,
        transformer: nn.Module,
        groups: Sequence[Group],
        budget: Budget,
        choices: Sequence[Precision] = (),
        seed: int = 0,
    ) -> None:
        own = choices_within(budget, choices)
        names = [group.name for group in groups if group.searchable]
        costs = measures(transformer, groups, budget, own)
        super().__init__(names, dict.fromkeys(names, own), costs, budget, seed=seed)


class CostSettings(TypedDict, total=False):
    """What costs depend on besides precisions; by default nothing is quantized but the groups.

    ``branches`` by group add to BitOPs and bytes of every choice that rounds weights and is not
    bare.
    """

    adaln: Precision
    weight_format: WeightFormat
    activation_format: ActivationFormat
    branches: Mapping[str, Sequence[Operator]]


def measures(
    transformer: nn.Module,
    groups: Sequence[Group],
    budget: Budget,
    choices: Sequence[Precision],
    **settings: Unpack[CostSettings],
) -> list[Measure]:
    """Return BitOPs, bounded or not, then bytes and weight bits where ``budget`` bounds them.

    BitOPs are of one forward of one image. Bytes are those of a group's layers with scales and zero
    points; the bytes of the rest of the model are subtracted from the limit, but for a transform's
    own scales, which the achieved cost counts. Weight bits are summed over weights, without
    branches. All costs and limits are whole numbers below 2^53, and what fits agrees with
    ``CostReport.satisfied``.
    """
    beside = settings.get("branches") or {}
    found = [_with(_bitops(transformer, groups, budget, choices), beside, "bitops")]
    if budget.megabytes is None and budget.weight_bits is None:
        return found
    options = CountOptions(
        settings.get("weight_format", PER_CHANNEL), settings.get("activation_format", PER_TOKEN)
    )
    fixed = settings.get("adaln", FULL)
    reports = {
        p: count(transformer, groups, uniform_allocation(groups, p, fixed), options)
        for p in choices
    }
    own = [group.name for group in groups if group.searchable]
    one = next(iter(reports.values()))
    if budget.megabytes is not None:
        table = {
            name: {p: float(_sum(report, name, "bytes")) for p, report in reports.items()}
            for name in own
        }
        rest = sum(op.bytes for op in one.operators if not op.searchable)
        limit = float(math.floor(budget.bytes) - rest)
        found.append(_with(Measure("bytes", "bytes", table, limit), beside, "bytes"))
    if budget.weight_bits is not None:
        weights = {name: _sum(one, name, "weights") for name in own}
        table = {
            name: {p: float(n * p.weight_bits) for p in choices} for name, n in weights.items()
        }
        limit = float(_most(budget.weight_bits, sum(weights.values())))
        found.append(Measure("weight-bits", "weight bits", table, limit))
    return found


def parse_choices(texts: Iterable[str], budget: Budget) -> list[Precision]:
    """Return the precisions of a recipe's choices, with ``neighbours`` written out.

    Raises BenchError.
    """
    found: list[Precision] = []
    for text in () if budget.is_unbounded else texts:
        if text == NEIGHBOURS:
            found += neighbours(budget)
        elif text == BARE_NEIGHBOURS:
            found += [replace(precision, bare=True) for precision in neighbours(budget)]
        else:
            found.append(Precision.parse(text))
    return found


def choices_by_group(
    own: Sequence[Precision],
    bitops: Measure,
    branched: Container[str],
    groups: Iterable[str],
) -> dict[str, tuple[Precision, ...]]:
    """Return what each of ``groups`` may take of ``own``, cheapest first in ``bitops``.

    For a group that is not ``branched``, a bare precision is the same as the precision with a
    branch, and is left out where both are given.
    """
    twins = {p for p in own if p.bare and replace(p, bare=False) in own}

    def of(group: str) -> tuple[Precision, ...]:
        kept, prices = set(own) - (set() if group in branched else twins), bitops.table[group]
        return tuple(sorted(kept, key=lambda p: (prices[p], p)))

    return {group: of(group) for group in groups}


def neighbours(budget: Budget) -> list[Precision]:
    """Return all pairs of the budget's bits and the next fewer and next more bits.

    Raises BenchError where the budget does not name weight and activation bits.
    """
    own = budget.precision
    if own.weight is None or own.activation is None:
        raise BenchError(f"choice '{NEIGHBOURS}' needs a budget with bits, like W4A4, not {budget}")
    return [Precision(w, a) for w in _next_to(own.weight) for a in _next_to(own.activation)]


def _next_to(bits: int) -> list[int]:
    fewer = [other for other in WEIGHT_CHOICES if other < bits]
    more = [other for other in WEIGHT_CHOICES if other > bits]
    return [*fewer[-1:], bits, *more[:1]]


def choices_within(budget: Budget, given: Sequence[Precision]) -> tuple[Precision, ...]:
    """Return the ``given`` precisions in ascending order of bits per MAC, without repetitions.

    Without any, all pairs of ``WEIGHT_CHOICES`` and ``ACTIVATION_CHOICES`` and the budget's own
    precision. A budget without any bound leaves one choice, floating point.
    """
    if budget.is_unbounded:
        return (FULL,)
    pairs = {Precision(w, a) for w in WEIGHT_CHOICES for a in ACTIVATION_CHOICES}
    own = set() if budget.precision.is_full else {budget.precision}
    chosen = set(given) or pairs | own
    return tuple(sorted(chosen, key=lambda p: (p.weight_bits * p.activation_bits, p)))


def _bitops(
    transformer: nn.Module, groups: Sequence[Group], budget: Budget, choices: Sequence[Precision]
) -> Measure:
    macs = group_macs(transformer, groups)
    table = {
        group: {p: float(n * p.weight_bits * p.activation_bits) for p in choices}
        for group, n in macs.items()
    }
    limit = budget_limit(sum(macs.values()), budget)
    return Measure("bitops", "BitOPs", table, math.inf if limit is None else float(limit))


def _with(measure: Measure, branches: Mapping[str, Sequence[Operator]], what: str) -> Measure:
    """Add the costs of the branches of every group to the choices that have one."""
    added = {group: sum(getattr(op, what) for op in ops) for group, ops in branches.items()}
    table = {
        group: {p: n + (added.get(group, 0) if p.branched else 0) for p, n in own.items()}
        for group, own in measure.table.items()
    }
    return replace(measure, table=table)


def _most(mean: float, count: int) -> int:
    """Return the largest whole sum of ``count`` numbers with a computed mean of ``mean`` or less.

    The floating-point product of the two may lie on either side of this sum.
    """
    most = math.floor(mean * count) + 1
    while most / count > mean:
        most -= 1
    return most


def _sum(report: CostReport, group: str, what: str) -> int:
    return sum(getattr(op, what) for op in report.operators if op.group == group)
