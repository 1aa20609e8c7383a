"""Figure: the score that each group alone costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...records.statistics import spread
from ..drawing import PAGE, drawing, grid, heat_map, log_y, look, number, readable_ticks
from .grids import SIDES, mean_by_bits, score_grid

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUMBERED = 16  # blocks up to which a cell has room for its score


def sensitivity_map(table: pd.DataFrame, precision: str, title: str, score: str) -> Figure:
    """Draw the score of every group at ``precision``, and below means over blocks and choices.

    ``table`` has ``group``, ``precision`` and ``score``; ``score`` names the objective. Colours are
    logarithmic; a score that is not positive has none.
    """
    with drawing(PAGE, 3.9) as figure:
        upper, lower = figure.subfigures(2, 1, height_ratios=[1, 1.15])  # type: ignore[misc]
        axes = upper.subplots()
        _draw_map(axes, score_grid(table, precision), score)
        axes.set_title(f"{title}: each group at {precision}", loc="left")
        axes.set_xlabel("block")
        panels = lower.subplots(1, 2, sharey=True)
        means = [mean_by_bits(table, side) for side in SIDES]
        for panel, own, side in zip(panels, means, SIDES, strict=True):
            for at, (kind, line) in enumerate(own.iterrows()):
                panel.plot(line.dropna(), label=str(kind), **look(at))
            panel.set_xticks([int(bits) for bits in own.columns])
            panel.set_xlabel(f"{side} bits")
            grid(panel)
        log_y(panels[0], [spread([float(v)]) for own in means for v in own.stack().to_numpy()])
        panels[0].set_ylabel(f"mean {score}")
        panels[0].set_title("mean over blocks and choices with these bits", loc="left")
        panels[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _draw_map(axes: Axes, scores: pd.DataFrame, score: str) -> None:
    from matplotlib.colors import LogNorm

    values = scores.to_numpy()
    positive = values[values > 0] if (values > 0).any() else np.ones(1)
    low, high = float(positive.min()), float(positive.max())
    label, texts = score, np.full(values.shape, "")
    if len(scores.columns) <= _NUMBERED:
        unit = 10.0 ** np.floor(np.log10(np.median(positive)))
        digits = 2 if high >= 2 * low else 3
        texts = (scores / unit).map(lambda value: _digits(value, digits)).to_numpy()
        label = score if unit == 1 else f"{score}\n(cells in {number(unit)})"
    shown = heat_map(axes, scores, LogNorm(low, max(high, low * 1.01)), texts, 6.0)
    bar = axes.figure.colorbar(shown, ax=axes, pad=0.01, aspect=14)
    bar.set_label(label)
    bar.outline.set_linewidth(0.5)
    readable_ticks(bar.ax.yaxis, high / low)


def _digits(value: float, digits: int) -> str:
    """Return ``value`` with that many digits and all digits before the point; empty for NaN."""
    if value != value:
        return ""
    return f"{value:.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:#.{digits}g}"
