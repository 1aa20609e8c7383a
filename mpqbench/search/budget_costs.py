"""The costs that a budget bounds, counted on a transformer, and the choices within a budget."""

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
from .arrays import Measure

WEIGHT_CHOICES = (2, 3, 4, 5, 6, 8)
ACTIVATION_CHOICES = (3, 4, 5, 6, 8)  # 2-bit activations on a min-max grid leave nothing to rank


class CostSettings(TypedDict, total=False):
    """What costs depend on besides precisions; by default nothing is quantized but the groups.

    ``branches`` by group add to the costs of every choice that rounds weights and is not bare. Only
    a total counts ``transforms`` by group, of every choice that is not full precision, and
    ``others``, which do not depend on the allocation.
    """

    adaln: Precision
    weight_format: WeightFormat
    activation_format: ActivationFormat
    attention_bits: int | None
    branches: Mapping[str, Sequence[Operator]]
    transforms: Mapping[str, Sequence[Operator]]
    others: Sequence[Operator]


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
    own scales. Weight bits are summed over weights, without branches. All costs and limits are
    whole numbers below 2^53, and what fits agrees with ``CostReport.satisfied``.
    """
    branches, macs = settings.get("branches") or {}, group_macs(transformer, groups)
    limit = budget_limit(transformer, groups, budget)
    if not budget.total:
        table = {
            g: {p: float(n * p.weight_bits * p.activation_bits) for p in choices}
            for g, n in macs.items()
        }
        bitops = Measure("bitops", "BitOPs", table, math.inf if limit is None else float(limit))
        found = [_with(bitops, branches, "mac_bitops")]
        if budget.megabytes is None and budget.weight_bits is None:
            return found
    options = CountOptions(
        settings.get("weight_format", PER_CHANNEL),
        settings.get("activation_format", PER_TOKEN),
        settings.get("attention_bits"),
    )
    fixed = settings.get("adaln", FULL)
    reports = {
        p: count(transformer, groups, uniform_allocation(groups, p, fixed), options)
        for p in choices
    }
    one = next(iter(reports.values()))
    if budget.total:
        assert limit is not None  # of a budget with a precision
        found = [_total(reports, macs, limit, settings)]
    if budget.megabytes is not None:
        table = {g: {p: float(_sum(r, g, "bytes")) for p, r in reports.items()} for g in macs}
        rest = sum(op.bytes for op in one.operators if not op.searchable)
        limit = math.floor(budget.bytes) - rest
        found.append(_with(Measure("bytes", "bytes", table, float(limit)), branches, "bytes"))
    if budget.weight_bits is not None:
        weights = {group: _sum(one, group, "weights") for group in macs}
        table = {g: {p: float(n * p.weight_bits) for p in choices} for g, n in weights.items()}
        limit = _most(budget.weight_bits, sum(weights.values()))
        found.append(Measure("weight-bits", "weight bits", table, float(limit)))
    return found


def _total(
    reports: Mapping[Precision, CostReport], groups: Iterable[str], limit: int,
    settings: CostSettings,
) -> Measure:  # fmt: skip
    """Return the BitOPs in total of each group at each precision, less all else in the limit."""
    transforms, names = settings.get("transforms") or {}, set(groups)
    added = {g: sum(op.bitops for op in transforms.get(g, ())) for g in names}
    table = {
        g: {
            p: float(_sum(r, g, "bitops") + (0 if p.is_full else added[g]))
            for p, r in reports.items()
        }
        for g in groups
    }
    one = next(iter(reports.values()))
    rest = sum(op.bitops for op in one.operators if op.group not in names)
    rest += sum(op.bitops for op in settings.get("others", ()))
    if not settings.get("adaln", FULL).is_full:
        fixed = [operators for g, operators in transforms.items() if g not in names]
        rest += sum(op.bitops for operators in fixed for op in operators)
    measure = Measure("bitops", "BitOPs in total", table, float(limit - rest))
    return _with(measure, settings.get("branches") or {}, "bitops")


def parse_choices(texts: Iterable[str], budget: Budget) -> list[Precision]:
    """Return the precisions of ``texts``, with ``neighbours`` written out. Raises BenchError."""
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
    precisions: Sequence[Precision],
    bitops: Measure,
    branched: Container[str],
    groups: Iterable[str],
) -> dict[str, tuple[Precision, ...]]:
    """Return what each of ``groups`` may take of ``precisions``, cheapest first in ``bitops``.

    Of a bare precision and its twin, a group that is not ``branched`` takes the twin alone.
    """
    twins = {p for p in precisions if p.bare and replace(p, bare=False) in precisions}
    found = {}
    for group in groups:
        kept = set(precisions) if group in branched else set(precisions) - twins
        found[group] = tuple(sorted(kept, key=lambda p: (bitops.table[group][p], p)))
    return found


def neighbours(budget: Budget) -> list[Precision]:
    """Return all pairs of the budget's bits and their neighbours. Raises BenchError if none."""
    base = budget.precision
    if base.weight is None or base.activation is None:
        raise BenchError(f"choice '{NEIGHBOURS}' needs a budget with bits, like W4A4, not {budget}")
    return [Precision(w, a) for w in _next_to(base.weight) for a in _next_to(base.activation)]


def _next_to(bits: int) -> list[int]:
    fewer = [other for other in WEIGHT_CHOICES if other < bits][-1:]
    return [*fewer, bits, *[other for other in WEIGHT_CHOICES if other > bits][:1]]


def choices_within(budget: Budget, given: Sequence[Precision]) -> tuple[Precision, ...]:
    """Return the ``given`` precisions in ascending order of bits per MAC, without repetitions.

    Without any, all pairs of the two lists of choices and the budget's own precision; floating
    point alone where the budget has no bound.
    """
    if budget.is_unbounded:
        return (FULL,)
    pairs = {Precision(w, a) for w in WEIGHT_CHOICES for a in ACTIVATION_CHOICES}
    base = set() if budget.precision.is_full else {budget.precision}
    chosen = set(given) or pairs | base
    return tuple(sorted(chosen, key=lambda p: (p.weight_bits * p.activation_bits, p)))


def _with(measure: Measure, branches: Mapping[str, Sequence[Operator]], what: str) -> Measure:
    """Add the costs of the branches of every group to the choices that have one."""
    added = {group: sum(getattr(op, what) for op in ops) for group, ops in branches.items()}
    table = {
        group: {p: n + (added.get(group, 0) if p.branched else 0) for p, n in costs.items()}
        for group, costs in measure.table.items()
    }
    return replace(measure, table=table)


def _most(mean: float, count: int) -> int:
    """Return the largest whole sum of ``count`` numbers with a computed mean up to ``mean``."""
    most = math.floor(mean * count) + 1  # the product may be rounded to either side
    while most / count > mean:
        most -= 1
    return most


def _sum(report: CostReport, group: str, what: str) -> int:
    return sum(getattr(op, what) for op in report.operators if op.group == group)
