"""Figures: the bits of every group in every block, and the score that each group alone costs.

Grids have kinds of layers down and transformer blocks across.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ...core.errors import BenchError
from ...core.precision import FULL_BITS, HIGHEST, LOWEST, Budget, Precision
from ...records.columns import Row
from ...records.frame import rows_of
from ...records.runs import Runs
from .. import drawing
from .runs import SearchComparison, read_allocation

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
    facts = [(each.weight_bits, each.activation_bits, each.branched, each.bare) for each in parsed]
    return placed(table).join(pd.DataFrame(facts, columns=[*SIDES, "branched", "bare"]))


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
    away = {text: abs(_product(Precision.parse(text)) - wanted) for text in scores.index}
    nearest = sorted(away, key=lambda text: (text != budget, away[text]))
    apart = scores["max"] - scores["min"] > 0.01 * scores["max"].abs()
    return next((text for text in nearest if apart[text]), nearest[0])


def _product(precision: Precision) -> int:
    return precision.weight_bits * precision.activation_bits


ROWS = 6  # methods that fit on a page
_NUMBERED = 16  # blocks up to which a cell has room for its score


def allocation_maps(comparison: SearchComparison, runs: Runs) -> list[Figure]:
    """Draw pages of at most 6 methods: the first seed of every search that kept its allocation."""
    first = [rows_of(rows)[0] for rows in comparison.searches.values()]
    shown = [(row, a) for row in first if (a := read_allocation(runs, row["job"])) is not None]
    pages = [shown[i : i + ROWS] for i in range(0, len(shown), ROWS)]
    titles = [f"{comparison.title}, seed {page[0][0]['seed']}" for page in pages]
    return list(map(allocation_map, titles, pages))


def allocation_map(title: str, allocations: Sequence[tuple[Row, Mapping[str, str]]]) -> Figure:
    """Draw weight bits (left) and activation bits (right), kinds of groups by blocks, by method.

    If a search decided on branches, weight bits of groups that have one are marked with a plus.
    adaLN layers whose precision is the same in all ``allocations`` are named above, not drawn.
    """
    tables = [allocation_table(allocation) for _, allocation in allocations]
    adaln = {text for t in tables for text in t.loc[t["kind"] == ADALN, "precision"]}
    if len(adaln) == 1:
        title += f"; {ADALN} at {adaln.pop()}"
        tables = [table[table["kind"] != ADALN] for table in tables]
    heights = [table["kind"].nunique() for table in tables]
    with drawing.canvas(drawing.PAGE, 0.6 + 0.17 * sum(heights) + 0.27 * len(tables)) as figure:
        panels = figure.subplots(len(tables), 2, squeeze=False, sharey="row", height_ratios=heights)
        for pair, (row, _), table in zip(panels, allocations, tables, strict=True):
            titles = f"{row['method']}: weight bits", "activation bits"
            for axes, side, text in zip(pair, SIDES, titles, strict=True):
                _draw_bits(axes, table, side)
                mean = row.get(f"mean_{side}_bits")
                axes.set_title(text if mean is None else f"{text}, mean {mean:.2f}", fontsize=7.5)
                axes.label_outer()
        figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    return figure


def _draw_bits(axes: Axes, table: pd.DataFrame, side: str) -> None:
    """Draw one heat map; a number of bits has one colour in every figure."""
    shown = table[side].map("{:g}".format).where(table[side] != FULL_BITS, "FP")
    if side == "weight" and table["bare"].any():  # otherwise the recipe decided on branches
        shown += table["branched"].map({True: "+", False: ""})
    texts = table.assign(shown=shown).pivot(index="kind", columns="block", values="shown")
    bits = as_grid(table, side)
    # Logarithmic: from 2 to 3 bits is more of a step than from 7 to 8.
    norm = LogNorm(LOWEST, HIGHEST, clip=True)
    size = 6.5 if len(bits.columns) <= 16 else 5.0
    drawing.heat_map(axes, bits, norm, texts.reindex(bits.index).fillna("").to_numpy(), size)


def sensitivity_map(table: pd.DataFrame, precision: str, title: str, score: str) -> Figure:
    """Draw the score of every group at ``precision``, and below means over blocks and choices.

    ``table`` has ``group``, ``precision`` and ``score``; ``score`` names the objective. Colours are
    logarithmic; a score that is not positive has none.
    """
    with drawing.canvas(drawing.PAGE, 3.9) as figure:
        upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.15])  # type: ignore[misc]
        axes = upper.subplots()
        _draw_scores(axes, score_grid(table, precision), score)
        axes.set_title(f"{title}: each group at {precision}")
        panels = lower.subplots(1, 2, sharey=True)
        means = [mean_by_bits(table, side) for side in SIDES]
        for panel, by_bits, side in zip(panels, means, SIDES, strict=True):
            for at, (kind, line) in enumerate(by_bits.iterrows()):
                panel.plot(line.dropna(), label=str(kind), **drawing.look(at))
            panel.set_xticks([int(bits) for bits in by_bits.columns])
            panel.set_xlabel(f"{side} bits")
        values = pd.concat([by_bits.stack() for by_bits in means])
        drawing.log_y(panels[0], [(value,) * 3 for value in values])
        panels[0].set(ylabel=f"mean {score}", title="mean over blocks and choices with these bits")
        panels[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _draw_scores(axes: Axes, scores: pd.DataFrame, score: str) -> None:
    values = scores.to_numpy()
    positive = values[values > 0] if (values > 0).any() else np.ones(1)
    low, high = float(positive.min()), float(positive.max())
    label, texts = score, np.full(values.shape, "")
    if len(scores.columns) <= _NUMBERED:
        unit = 10.0 ** np.floor(np.log10(np.median(positive)))
        digits = 2 if high >= 2 * low else 3
        texts = (scores / unit).map(lambda value: _digits(value, digits)).to_numpy()
        label = score if unit == 1 else f"{score}\n(cells in {drawing.number(unit)})"
    shown = drawing.heat_map(axes, scores, LogNorm(low, max(high, low * 1.01)), texts, 6.0)
    bar = axes.figure.colorbar(shown, ax=axes, pad=0.01, aspect=14)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)
    drawing.readable_ticks(bar.ax.yaxis, high / low)


def _digits(value: float, digits: int) -> str:
    """Return ``value`` with that many digits and all digits before the point; empty for NaN."""
    if value != value:
        return ""
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:#.{digits}g}"
