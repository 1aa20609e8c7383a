"""Values of groups as a grid: kinds of layers down, transformer blocks across."""

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from ...core.errors import BenchError
from ...core.precision import Budget, Precision

SIDES = ("weight", "activation")
ADALN = "adaln"  # the kind of the groups that produce the conditioning
Allocation = Mapping[str, str]  # such as {"blocks.0.mlp.up": "W4A8"}


def as_grid(values: Mapping[str, float]) -> pd.DataFrame:
    """Return ``{group: value}`` as kinds x blocks, kinds in order of appearance; NaN for no group.

    Raises BenchError if a group is not called ``blocks.NUMBER.KIND``.
    """
    rows = [(*_place(group), float(value)) for group, value in values.items()]
    frame = pd.DataFrame(rows, columns=["block", "kind", "value"])
    grid = frame.pivot(index="kind", columns="block", values="value")
    return grid.reindex(frame["kind"].unique())


def bit_grids(allocation: Allocation) -> list[pd.DataFrame]:
    """Return weight bits and activation bits, floating point as 16."""
    parsed = {group: Precision.parse(text) for group, text in allocation.items()}
    return [as_grid({group: bits_of(own, side) for group, own in parsed.items()}) for side in SIDES]


def bits_of(precision: Precision, side: str) -> int:
    """Return the bits of weights or activations, one of ``SIDES``; floating point as 16."""
    return precision.weight_bits if side == "weight" else precision.activation_bits


def branch_grid(allocation: Allocation) -> pd.DataFrame | None:
    """Return 1 for a group with a branch and 0 for one without.

    ``None`` if no group is without one: then the recipe decides on branches, not the search.
    """
    parsed = {group: Precision.parse(text) for group, text in allocation.items()}
    grid = as_grid({group: precision.branched for group, precision in parsed.items()})
    return grid if any(precision.bare for precision in parsed.values()) else None


def fixed_precision(allocations: Iterable[Allocation], kind: str) -> str | None:
    """Return the one precision of all groups of ``kind`` in ``allocations``, or ``None``."""
    found = {own[group] for own in allocations for group in own if _place(group)[1] == kind}
    return found.pop() if len(found) == 1 else None


def leave_out(allocation: Allocation, kind: str) -> Allocation:
    """Return ``allocation`` without the groups of ``kind``."""
    return {group: own for group, own in allocation.items() if _place(group)[1] != kind}


def mean_table(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean score of every group and precision over tables, one for each seed."""
    groups = pd.concat(tables).groupby(["group", "precision"], sort=False)
    return groups["score"].mean().reset_index()


def score_grid(table: pd.DataFrame, precision: str) -> pd.DataFrame:
    """Return the scores of ``precision`` in an additive table. Raises BenchError if it has none."""
    scores = table[table["precision"] == precision].set_index("group")["score"]
    if scores.empty:
        valid = ", ".join(table["precision"].unique())
        raise BenchError(f"the table has no scores of {precision} (valid: {valid})")
    return as_grid(scores.to_dict())


def mean_by_bits(table: pd.DataFrame, side: str) -> pd.DataFrame:
    """Return mean scores of kinds (rows) by bits of ``side``, one of ``SIDES`` (columns)."""
    bits = table["precision"].map(lambda text: bits_of(Precision.parse(text), side))
    kinds = table["group"].map(lambda group: _place(group)[1])
    means = table["score"].groupby([kinds.rename("kind"), bits.rename("bits")], sort=False).mean()
    return means.unstack().sort_index(axis="columns")


def telling_precision(table: pd.DataFrame, budget: str) -> str:
    """Return the precision nearest in BitOPs to ``budget`` at which groups differ by 1 %.

    In an environment at the budget's own precision, groups do not differ there: testing one is
    testing the whole model. If a budget names no precision, the cheapest one is the nearest.
    """
    bound = Budget.parse(budget).precision
    wanted = 0 if bound.is_full else _product(bound)
    scores = table.groupby("precision", sort=False)["score"].agg(["min", "max"])
    nearest = sorted(
        scores.index,
        key=lambda text: (text != budget, abs(_product(Precision.parse(text)) - wanted)),
    )
    apart = scores["max"] - scores["min"] > 0.01 * scores["max"].abs()
    return next((text for text in nearest if apart[text]), nearest[0])


def _product(precision: Precision) -> int:
    return precision.weight_bits * precision.activation_bits


def _place(group: str) -> tuple[int, str]:
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", group)
    if match is None:
        raise BenchError(f"group '{group}' has no place in a heat map: call it blocks.NUMBER.KIND")
    return int(match[1]), match[2]
