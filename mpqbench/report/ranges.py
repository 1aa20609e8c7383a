"""Figure: the ranges of a layer's inputs over sampling steps and over channels."""

from dataclasses import dataclass

import numpy as np
from matplotlib.colors import LogNorm

from . import drawing
from .drawing import Picture
from .looks import COLOURS, Style

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
_BANDS = ((0, 4, "1 to 99 %", 0.22), (1, 3, "25 to 75 %", 0.45))


@dataclass(frozen=True, eq=False)
class LayerInputs:
    """What full precision gives a layer: ``rows`` (n, in), a sample, at ``times`` (n,).

    Of ``steps`` (s,), the noisiest first, ``low`` and ``high`` (s,) are the range of all values and
    ``maxima`` (s, in) the largest magnitude of each channel.
    """

    rows: np.ndarray
    times: np.ndarray
    steps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    maxima: np.ndarray


def quantiles(inputs: LayerInputs) -> np.ndarray:
    """Return ``QUANTILES`` of the values at each step: (steps, 5), NaN at a step without a row."""
    found = np.full((len(inputs.steps), len(QUANTILES)), np.nan)
    for at, step in enumerate(inputs.steps):
        rows = inputs.rows[inputs.times == step]
        if len(rows):
            found[at] = np.quantile(rows, QUANTILES)
    return found


def ranges(inputs: LayerInputs, title: str, style: Style | None = None) -> Picture:
    """Draw quantiles and range by step, and below the largest magnitude by channel and step.

    Channels are in the order of their largest magnitude.
    """
    style, steps = style or Style(), inputs.steps
    found = quantiles(inputs)
    with drawing.canvas(style, 3.2, f"Inputs of {title}") as picture:
        upper, lower = picture.subplots(2, 1, sharex=True, height_ratios=[1, 1.15])
        upper.plot(steps, inputs.low, color=COLOURS[1], linestyle=":", label="smallest, largest")
        upper.plot(steps, inputs.high, color=COLOURS[1], linestyle=":")
        for low, high, label, alpha in _BANDS:
            upper.fill_between(steps, found[:, low], found[:, high], color=COLOURS[0], alpha=alpha,
                               linewidth=0, label=label)  # fmt: skip
        upper.plot(steps, found[:, 2], color=COLOURS[0], label="median")
        upper.set_ylabel("value")
        order = np.argsort(-inputs.maxima.max(axis=0), kind="stable")
        values = np.ma.masked_less_equal(inputs.maxima[:, order].T, 0.0)
        norm = LogNorm(values.min(), values.max()) if values.count() else None
        places = np.arange(len(order) + 1)
        image = lower.pcolormesh(_edges(steps), places, values, norm=norm, cmap=drawing.shades(),
                                 rasterized=True)  # fmt: skip
        lower.set(ylabel="channel, by largest |x|", ylim=(len(order), 0), xlabel="time step")
        lower.grid(False)
        lower.set_xlim(max(_edges(steps)), min(_edges(steps)))  # sampling goes to the right
        bar = picture.colorbar(image, ax=lower, pad=0.01, aspect=14)
        bar.set_label("largest |x|")
        bar.outline.set_linewidth(0.5)
        if norm is not None:
            drawing.readable_ticks(bar.ax.yaxis, float(values.max() / values.min()))
        drawing.explain(picture, drawing.handles_of(upper), "Sampling goes from left to right.")
    return picture


def _edges(steps: np.ndarray) -> np.ndarray:
    """Return the borders of cells around ``steps`` (s,): (s + 1,)."""
    steps = np.asarray(steps, dtype=float)
    if len(steps) == 1:
        return np.array([steps[0] + 0.5, steps[0] - 0.5])
    middles = (steps[1:] + steps[:-1]) / 2
    return np.array([2 * steps[0] - middles[0], *middles, 2 * steps[-1] - middles[-1]])
