"""Figure: the bits of every group in every block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...core.precision import FULL_BITS, HIGHEST, LOWEST
from ...records.columns import Row
from ...records.frame import rows_of
from ..drawing import PAGE, drawing, heat_map
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
    shown = [
        (row, store.read_allocation(row["job"]))
        for row in first
        if store.allocation_path(row["job"]).is_file()
    ]
    pages = [shown[i : i + ROWS] for i in range(0, len(shown), ROWS)]
    return [allocation_map(comparison.title, page) for page in pages]


def allocation_map(title: str, allocations: Sequence[tuple[Row, Mapping[str, str]]]) -> Figure:
    """Draw weight bits (left) and activation bits (right), kinds of groups by blocks, by method.

    If a search decided on branches, weight bits of groups that have one are marked with a plus.
    adaLN layers whose precision is the same in all ``allocations`` are named above, not drawn.
    """
    fixed = fixed_precision([own for _, own in allocations], ADALN)
    drawn = [own if fixed is None else leave_out(own, ADALN) for _, own in allocations]
    grids = [bit_grids(own) for own in drawn]
    heights = [len(weights) for weights, _ in grids]
    with drawing(PAGE, 0.6 + 0.17 * sum(heights) + 0.27 * len(grids)) as figure:
        panels = figure.subplots(len(grids), 2, squeeze=False, sharey="row", height_ratios=heights)
        for pair, (row, _), own, both in zip(panels, allocations, drawn, grids, strict=True):
            titles = f"{row['method']}: weight bits", "activation bits"
            means = row["mean_weight_bits"], row.get("mean_activation_bits")
            marks = branch_grid(own), None
            for axes, bits, mark, text, mean in zip(pair, both, marks, titles, means, strict=True):
                _draw(axes, bits, mark)
                shown = text if mean is None else f"{text}, mean {mean:.2f}"
                axes.set_title(shown, loc="left", fontsize=7.5)
                axes.set_xlabel("block")
                axes.label_outer()
        note = f"; {ADALN} at {fixed}" if fixed else ""
        seed = allocations[0][0]["seed"]
        figure.suptitle(f"{title}, seed {seed}{note}", x=0.01, ha="left", fontsize=9)
    return figure


def _draw(axes: Axes, bits: pd.DataFrame, branches: pd.DataFrame | None) -> None:
    """Draw one heat map; a number of bits has one colour in every figure."""
    from matplotlib.colors import LogNorm

    marks = np.where(bits == FULL_BITS, "FP", bits.map("{:g}".format))
    marks = np.where(bits.isna(), "", marks).astype(object)
    if branches is not None:
        marks = marks + np.where(branches == 1, "+", "")
    # Logarithmic: from 2 to 3 bits is more of a step than from 7 to 8.
    norm = LogNorm(LOWEST, HIGHEST, clip=True)
    heat_map(axes, bits, norm, marks, 6.5 if len(bits.columns) <= 16 else 5.0)
