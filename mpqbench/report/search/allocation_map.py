"""Figure: the bits of every group in every block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.precision import FULL_BITS, HIGHEST, LOWEST
from ...records.columns import Row
from ...records.frame import rows_of
from ..drawing import PAGE, cell_text, drawing, heat_axes, part_of
from .grids import ADALN, bit_grids, branch_grid, fixed_precision, leave_out

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...records.store import RecordStore
    from .runs import SearchComparison

ROWS = 6  # methods that fit on a page


def allocation_maps(comparison: SearchComparison, store: RecordStore) -> list[Figure]:
    """Draw pages of at most 6 methods: the first seed of every search that kept its allocation."""
    first = [rows_of(own)[0] for own in comparison.searches.values()]
    shown = [row for row in first if store.allocation_path(row["job"]).is_file()]
    return [
        allocation_map(comparison.title, [(row, store.read_allocation(row["job"])) for row in page])
        for page in (shown[i : i + ROWS] for i in range(0, len(shown), ROWS))
    ]


def allocation_map(title: str, allocations: Sequence[tuple[Row, Mapping[str, str]]]) -> Figure:
    """Draw weight bits (left) and activation bits (right), kinds of groups by blocks, by method.

    If a search decided on branches, weight bits of groups that have one are marked with a plus.
    adaLN layers whose precision is the same in all ``allocations`` are named above, not drawn.
    """
    fixed = fixed_precision([own for _, own in allocations], ADALN)
    drawn = [own if fixed is None else leave_out(own, ADALN) for _, own in allocations]
    grids = [(row, bit_grids(own)) for (row, _), own in zip(allocations, drawn, strict=True)]
    branches = list(map(branch_grid, drawn))
    rows = sum(len(weights) for _, (weights, _) in grids)
    with drawing(PAGE, 0.6 + 0.17 * rows + 0.27 * len(grids)) as figure:
        panels = figure.subplots(
            len(grids), 2, squeeze=False, sharey="row",
            height_ratios=[len(weights) for _, (weights, _) in grids],
        )  # fmt: skip
        for pair, (row, both), beside in zip(panels, grids, branches, strict=True):
            marks = (beside, None)
            for axes, own, mark, text in zip(pair, both, marks, _titles(row), strict=True):
                _draw(axes, own, mark)
                axes.set_title(text, loc="left", fontsize=7.5)
                axes.tick_params(labelbottom=axes in panels[-1])
        for axes in panels[-1]:
            axes.set_xlabel("block")
        seed = grids[0][0]["seed"]
        note = f"; {ADALN} at {fixed}" if fixed else ""
        figure.suptitle(f"{title}, seed {seed}{note}", x=0.01, ha="left", fontsize=9)
    return figure


def _titles(row: Row) -> tuple[str, str]:
    """Return the titles of a method's heat maps, with the mean bits that the harness counted."""
    weights, activations = f"{row['method']}: weight bits", "activation bits"
    if row["mean_weight_bits"] is None:
        return weights, activations
    return (
        f"{weights}, mean {row['mean_weight_bits']:.2f}",
        f"{activations}, mean {row['mean_activation_bits']:.2f}",
    )


def _draw(axes: Axes, bits: pd.DataFrame, branches: pd.DataFrame | None) -> None:
    """Draw one heat map; a number of bits has one colour in every figure."""
    from matplotlib.colors import LogNorm

    # Logarithmic: from 2 to 3 bits is more of a step than from 7 to 8.
    shades, norm = part_of("cividis", 0.1, 1.0), LogNorm(LOWEST, HIGHEST, clip=True)

    def shade(value: float) -> Any:
        return shades(float(norm(value)))

    values = bits.to_numpy()
    axes.imshow(values, cmap=shades, norm=norm, aspect="auto", interpolation="nearest")
    texts = [
        ["" if v != v else "FP" if v == FULL_BITS else f"{v:g}" for v in row] for row in values
    ]
    if branches is not None:
        beside = branches.to_numpy() == 1
        texts = [
            [text + "+" * bool(has) for text, has in zip(*both, strict=True)]
            for both in zip(texts, beside, strict=True)
        ]
    cell_text(axes, values, texts, shade, 6.5 if len(bits.columns) <= 16 else 5.0)
    heat_axes(axes, bits)
