"""Figure: which group of which block got how many bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.precision import FULL_BITS, HIGHEST, LOWEST
from ...dit.groups import ADALN
from .drawing import PAGE, cell_text, drawing, heat_axes, part_of
from .grids import bit_grids, branch_grid, fixed_precision, leave_out

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...records.schema import JobRecord
    from ...records.store import RecordStore
    from .runs import SearchComparison

ROWS = 6  # methods that fit on a page


def allocation_maps(contest: SearchComparison, store: RecordStore) -> list[Figure]:
    """Pages of at most 6 methods each: the first seed of every search whose allocation is there."""
    first = [own[0] for own in contest.searches.values()]
    shown = [record for record in first if store.allocation_path(record.job).is_file()]
    return [
        allocation_map(contest.title, [(r, store.read_allocation(r.job)) for r in page])
        for page in (shown[i : i + ROWS] for i in range(0, len(shown), ROWS))
    ]


def allocation_map(
    title: str, allocations: Sequence[tuple[JobRecord, Mapping[str, str]]]
) -> Figure:
    """Weight bits (left) and activation bits (right), kinds of groups by blocks, method by method.

    Where a search decided on branches, weight bits of groups that have one are marked with a plus.
    adaLN layers that are alike in all of them, as they are where no search may change them, are
    named above instead of drawn.
    """
    fixed = fixed_precision([own for _, own in allocations], ADALN)
    drawn = [own if fixed is None else leave_out(own, ADALN) for _, own in allocations]
    grids = [(record, bit_grids(own)) for (record, _), own in zip(allocations, drawn, strict=True)]
    branches = list(map(branch_grid, drawn))
    rows = sum(len(weights) for _, (weights, _) in grids)
    with drawing(PAGE, 0.6 + 0.17 * rows + 0.27 * len(grids)) as figure:
        panels = figure.subplots(
            len(grids), 2, squeeze=False, sharey="row",
            height_ratios=[len(weights) for _, (weights, _) in grids],
        )  # fmt: skip
        for pair, (record, both), beside in zip(panels, grids, branches, strict=True):
            marks = (beside, None)
            for axes, own, mark, text in zip(pair, both, marks, _titles(record), strict=True):
                _draw(axes, own, mark)
                axes.set_title(text, loc="left", fontsize=7.5)
                axes.tick_params(labelbottom=axes in panels[-1])
        for axes in panels[-1]:
            axes.set_xlabel("block")
        seed = grids[0][0].seed
        note = f"; {ADALN} at {fixed}" if fixed else ""
        figure.suptitle(f"{title}, seed {seed}{note}", x=0.01, ha="left", fontsize=9)
    return figure


def _titles(record: JobRecord) -> tuple[str, str]:
    """Over the two heat maps of a method, with the means that the harness counted."""
    weights, activations = f"{record.method}: weight bits", "activation bits"
    if record.allocation is None:
        return weights, activations
    means = record.allocation.mean_weight_bits, record.allocation.mean_activation_bits
    return f"{weights}, mean {means[0]:.2f}", f"{activations}, mean {means[1]:.2f}"


def _draw(axes: Axes, bits: pd.DataFrame, branches: pd.DataFrame | None) -> None:
    """One heat map; a number of bits has one colour in every figure."""
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
