"""Figures: the bits of every group in every block, and the score that each group alone costs.

Grids have kinds of layers down and transformer blocks across.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch

from ...core.errors import BenchError
from ...core.precision import FULL_BITS, HIGHEST, LOWEST, Budget, Precision
from ...records.columns import Row
from ...records.frame import rows_of
from ...records.runs import Runs
from .. import drawing
from ..drawing import Picture
from ..looks import Style, look_in_order
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
_TICKS = 0.75  # inches that names of kinds take beside a map


def allocation_maps(
    comparison: SearchComparison, runs: Runs, style: Style | None = None
) -> list[Picture]:
    """Draw pages of at most 6 methods: the first seed of every search that kept its allocation."""
    style = style or Style()
    first = [rows_of(rows)[0] for rows in comparison.searches.values()]
    shown = [(row, a) for row in first if (a := read_allocation(runs, row["job"])) is not None]
    pages = [shown[i : i + ROWS] for i in range(0, len(shown), ROWS)]
    titles = [f"Bits of {comparison.title}, seed {page[0][0]['seed']}" for page in pages]
    return [allocation_map(title, page, style) for title, page in zip(titles, pages, strict=True)]


def allocation_map(
    title: str, allocations: Sequence[tuple[Row, Mapping[str, str]]], style: Style | None = None
) -> Picture:
    """Draw weight bits (left) and activation bits (right), kinds of groups by blocks, by method.

    If a search decided on branches, weight bits of groups that have one are marked with a plus.
    adaLN layers whose precision is the same in all ``allocations`` are told, not drawn. Where the
    cells have no room for numbers, a legend has the colours of the bits.
    """
    style = style or Style()
    tables = [allocation_table(allocation) for _, allocation in allocations]
    adaln = {text for t in tables for text in t.loc[t["kind"] == ADALN, "precision"]}
    if len(adaln) == 1:
        title += f"; {ADALN} at {adaln.pop()}"
        tables = [table[table["kind"] != ADALN] for table in tables]
    heights = [table["kind"].nunique() for table in tables]
    inches = (style.width - _TICKS) / 2
    height = 0.35 + 0.125 * sum(heights) + 0.24 * len(tables)
    with drawing.canvas(style, height, title) as picture:
        panels = picture.subplots(
            len(tables), 2, squeeze=False, sharey="row", height_ratios=heights
        )
        cells = [_bit_texts(table, side) for table in tables for side in SIDES]
        has_room = all(drawing.cells_hold(texts, inches) for texts in cells)
        for pair, (row, _), table in zip(panels, allocations, tables, strict=True):
            name = style.label(str(row["method"]))
            for axes, side, text in zip(pair, SIDES, (f"{name}: W", "A"), strict=True):
                _draw_bits(axes, table, side, has_room)
                mean = row.get(f"mean_{side}_bits")
                axes.set_title(text if mean is None else f"{text} {mean:.2f}", fontsize=7.0)
                axes.label_outer()
        if not has_room:
            drawing.explain(picture, _bit_handles(tables))
        picture.note = "W: bits of weights, A: of activations, with their means."
        if any(table["bare"].any() for table in tables):
            picture.note += " Plus: a group with a branch."
    return picture


def _shades() -> LogNorm:
    """Return how bits become colours; logarithmic: 2 to 3 is more of a step than 7 to 8."""
    return LogNorm(LOWEST, HIGHEST, clip=True)


def _bit_handles(tables: Sequence[pd.DataFrame]) -> dict[str, Patch]:
    bits = sorted({int(value) for table in tables for side in SIDES for value in table[side]})
    colour = drawing.shades()
    return {
        "FP" if value == FULL_BITS else f"{value} bits": Patch(color=colour(_shades()(value)))
        for value in bits
    }


def _bit_texts(table: pd.DataFrame, side: str) -> np.ndarray:
    """Return what the cells of a heat map of bits say."""
    shown = table[side].map("{:g}".format).where(table[side] != FULL_BITS, "FP")
    if side == "weight" and table["bare"].any():  # otherwise the recipe decided on branches
        shown += table["branched"].map({True: "+", False: ""})
    texts = table.assign(shown=shown).pivot(index="kind", columns="block", values="shown")
    return np.asarray(texts.reindex(table["kind"].unique()).fillna("").to_numpy())


def _draw_bits(axes: Axes, table: pd.DataFrame, side: str, has_room: bool) -> None:
    """Draw one heat map; a number of bits has one colour in every figure."""
    texts = _bit_texts(table, side)
    drawing.heat_map(axes, as_grid(table, side), _shades(), texts if has_room else None)
    if not has_room:
        rows, blocks = np.nonzero(np.char.endswith(texts.astype(str), "+"))
        axes.plot(blocks, rows, "+", color="white", markersize=3.0, markeredgewidth=0.7)


def sensitivity_map(
    table: pd.DataFrame, precision: str, title: str, score: str, style: Style | None = None
) -> Picture:
    """Draw the score of every group at ``precision``, and below means over blocks and choices.

    ``table`` has ``group``, ``precision`` and ``score``; ``score`` names the objective. Colours are
    logarithmic; a score that is not positive has none.
    """
    style = style or Style()
    words = f"Sensitivity: {title}: each group at {precision}"
    with drawing.canvas(style, 3.1, words) as picture:
        places: dict[str, Axes] = picture.subplot_mosaic(
            [["map"] * 2, list(SIDES)], height_ratios=[1, 1.25]
        )
        _draw_scores(places["map"], score_grid(table, precision), score, style.width - 1.4)
        panels = [places[side] for side in SIDES]
        panels[1].sharey(panels[0])
        means = [mean_by_bits(table, side) for side in SIDES]
        for axes, by_bits, side in zip(panels, means, SIDES, strict=True):
            for at, (kind, line) in enumerate(by_bits.iterrows()):
                axes.plot(line.dropna(), label=str(kind), **look_in_order(at))
            axes.set_xticks([int(bits) for bits in by_bits.columns])
            axes.set_xlabel(f"{side} bits")
        values = pd.concat([by_bits.stack() for by_bits in means])
        drawing.log_y(panels[0], [(value,) * 3 for value in values])
        panels[0].set(ylabel=f"mean {score}")
        panels[1].tick_params(labelleft=False)
        drawing.explain(picture, drawing.handles_of(panels[0]))
        picture.note = "Below: means over blocks and choices with these bits."
    return picture


def _draw_scores(axes: Axes, scores: pd.DataFrame, score: str, inches: float) -> None:
    values = scores.to_numpy()
    positive = values[values > 0] if (values > 0).any() else np.ones(1)
    low, high = float(positive.min()), float(positive.max())
    unit = 10.0 ** np.floor(np.log10(np.median(positive)))
    digits = 2 if high >= 2 * low else 3
    texts = (scores / unit).map(lambda value: _digits(value, digits)).to_numpy()
    has_room = drawing.cells_hold(texts, inches)
    label = score if unit == 1 or not has_room else f"{score} (cells in {drawing.number(unit)})"
    shown = drawing.heat_map(
        axes, scores, LogNorm(low, max(high, low * 1.01)), texts if has_room else None
    )
    bar = axes.figure.colorbar(shown, ax=axes, pad=0.01, aspect=14)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)
    drawing.readable_ticks(bar.ax.yaxis, high / low)


def _digits(value: float, digits: int) -> str:
    """Return ``value`` with that many digits and all digits before the point; empty for NaN."""
    if value != value:
        return ""
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:#.{digits}g}"
