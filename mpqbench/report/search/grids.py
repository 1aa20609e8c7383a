"""Values of groups as a grid: kinds of layers down, transformer blocks across."""

from collections.abc import Iterable, Mapping

import pandas as pd

from ...core.errors import BenchError
from ...core.precision import Budget, Precision

SIDES = ("weight", "activation")
ADALN = "adaln"  # the kind of the groups that produce the conditioning


def placed(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``block`` and ``kind``. Raises BenchError if a group is not ``blocks.NUMBER.KIND``."""
    places = table["group"].str.extract(r"^blocks\.(?P<block>\d+)\.(?P<kind>.+)$")
    for group in table["group"][places["kind"].isna()]:
        raise BenchError(f"group '{group}' has no place in a heat map: call it blocks.NUMBER.KIND")
    return table.assign(block=places["block"].astype(int), kind=places["kind"])


def as_grid(table: pd.DataFrame, values: str) -> pd.DataFrame:
    """Return a column as kinds x blocks, kinds in order of appearance; NaN for no group."""
    grid = table.pivot(index="kind", columns="block", values=values).astype(float)
    return grid.reindex(table["kind"].unique())


def allocation_table(allocation: Mapping[str, str]) -> pd.DataFrame:
    """Return a row for each group of ``{group: "W4A8"}``.

    Columns: ``group``, ``block``, ``kind``, ``precision``, the bits of ``weight`` and
    ``activation`` (floating point as 16), and whether it is ``branched`` or ``bare``.
    """
    parsed = list(map(Precision.parse, allocation.values()))
    table = pd.DataFrame({"group": list(allocation), "precision": list(map(str, parsed))})
    return placed(table).assign(
        weight=[precision.weight_bits for precision in parsed],
        activation=[precision.activation_bits for precision in parsed],
        branched=[precision.branched for precision in parsed],
        bare=[precision.bare for precision in parsed],
    )


def mean_table(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean score of every group and precision over tables, one for each seed."""
    groups = pd.concat(tables).groupby(["group", "precision"], sort=False)
    return groups["score"].mean().reset_index()


def score_grid(table: pd.DataFrame, precision: str) -> pd.DataFrame:
    """Return the scores of ``precision`` in an additive table. Raises BenchError if it has none."""
    scores = table[table["precision"] == precision]
    if scores.empty:
        valid = ", ".join(table["precision"].unique())
        raise BenchError(f"the table has no scores of {precision} (valid: {valid})")
    return as_grid(placed(scores), "score")


def mean_by_bits(table: pd.DataFrame, side: str) -> pd.DataFrame:
    """Return mean scores of kinds (rows) by bits of ``side``, one of ``SIDES`` (columns)."""
    parsed = table["precision"].map(Precision.parse)
    bits = parsed.map(lambda p: p.weight_bits if side == "weight" else p.activation_bits)
    means = placed(table).assign(bits=bits).groupby(["kind", "bits"], sort=False)["score"].mean()
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
