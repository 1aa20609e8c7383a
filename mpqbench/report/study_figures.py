"""Figures of the studies of proxies and of branches, from the tables that these leave."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..records.columns import frechet_names
from ..records.statistics import Spread, spread
from . import drawing
from .drawing import Picture
from .looks import FULL_COLOUR, Style, look_in_order

PARTS = ("all", "better half")
NONE, MORE_BITS = "none", "rows at more bits"  # not branches, in the column of their names
ALL = "all layers"
FIT = ["branch", "weighted"]
_FIGURE_NOTE = (
    "Geometric means over layers of the output error on held-out inputs, relative to no branch. "
    "Solid, filled: fitted to the output; dashed, open: to the weight. Bars: 95 % t intervals "
    "over layers."
)
Fit = tuple[str, bool]  # a branch, and whether it is fitted to inputs


def proxy_figure(
    tables: Mapping[str, pd.DataFrame], extractor: str | None, style: Style
) -> Picture:
    """Draw tau with the first measurement, over all allocations and over the better half.

    ``tables`` are those of ``write_proxies`` by the name of the model, a panel for each; proxies
    are in the order of the first.
    """
    first = next(iter(tables.values()))
    truth, header = next(iter(headers_of(first, extractor).items()))
    every = (
        name for table in tables.values() for name in ordered_proxies(table, PARTS[0])["proxy"]
    )
    names = list(dict.fromkeys(every))
    columns = max(1, min(len(tables), int((style.width - 1.5) / 1.2)))
    rows = -(-len(tables) // columns)
    title = f"Kendall's tau of proxies with {header}: {', '.join(tables)}"
    with drawing.canvas(style, rows * (0.4 + 0.17 * len(names)), title) as picture:
        panels = drawing.panels(picture, len(tables), columns, sharey=True, sharex=True)
        for axes, (model, table) in zip(panels, tables.items(), strict=True):
            tau, half = table[f"tau_{truth}"], table[f"tau_{truth}_ci"]
            ends = table[["proxy"]].assign(value=tau, low=tau - half, high=tau + half)
            parts = {part: ends[table["part"] == part].set_index("proxy") for part in PARTS}
            drawing.forest(axes, names, parts)
            axes.axvline(0, color=FULL_COLOUR, linewidth=0.6)
            axes.grid(axis="y", visible=False)
            axes.set_xlabel(f"Kendall's tau with {header}")
            if len(tables) > 1:
                axes.set_title(model)
        drawing.explain(picture, drawing.handles_of(panels[0]), "Bars: 95 % intervals.")
    return picture


def ordered_proxies(table: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return the rows of a part of the allocations, best tau with the first measurement first."""
    rows = table[table["part"] == part]
    first = next(column for column in table.columns if column.startswith("tau_"))
    return rows.sort_values([first, "proxy"], ascending=[False, True], kind="stable")


def headers_of(table: pd.DataFrame, extractor: str | None) -> dict[str, str]:
    """Return the measurements in the order of the columns, with their headers."""
    names = {"fd": frechet_names(extractor)[0], "output_mse": "held-out MSE"}
    return {key: text for key, text in names.items() if f"tau_{key}" in table.columns}


def geometric_mean(ratios: pd.Series) -> Spread:
    """Return the geometric mean over layers and its 95 % t interval, taken of the logarithms."""
    logs = spread(np.log(ratios.to_numpy()).tolist())
    mean, low, high = (float(np.exp(value)) for value in logs[:3])
    return Spread(mean, low, high, logs.seeds)


def by_fit(part: pd.DataFrame) -> dict[Fit, pd.DataFrame]:
    """Return the rows of every branch and fit, in their order."""
    groups = part.groupby(FIT, sort=False)
    return {(str(name), bool(weighted)): rows for (name, weighted), rows in groups}


def branch_figure(table: pd.DataFrame, model: str, style: Style) -> Picture:
    """Draw panels for every number of bits: all layers, then each type of layer."""
    compared = table[table["branch"] != NONE]
    kinds, rows = [ALL, *compared["kind"].unique()], list(compared.groupby("bits"))
    handles: dict[str, Any] = {}
    columns = drawing.columns_of(style, len(kinds), 1.2)
    count = -(-len(kinds) // columns) * len(rows)
    title = f"Output error of layers with a branch, by its size: {model}"
    with drawing.canvas(style, 0.1 + 1.45 * count, title) as picture:
        every = picture.subplots(count, columns, squeeze=False, sharex=True, sharey="row")
        for at, (bits, part) in enumerate(rows):
            own = every[at * count // len(rows) : (at + 1) * count // len(rows)].ravel()
            for spare in own[len(kinds) :]:
                spare.set_axis_off()
            for kind, axes in zip(kinds, own, strict=False):
                handles |= dict(_curves(axes, part if kind == ALL else part[part["kind"] == kind]))
                axes.axhline(1, color=FULL_COLOUR, linewidth=0.6)
                axes.set(xlabel="bytes of rank", ylabel=f"error ÷ none, {bits} bits")
                axes.set_title("" if at else kind, loc="center")
                axes.set_ylim(bottom=0)
                axes.set_xscale("log", base=2)
                axes.set_xticks(sorted(set(compared["rank"])))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.minorticks_off()
                axes.label_outer()
        drawing.explain(picture, handles, _FIGURE_NOTE)
    return picture


def _curves(axes: Axes, part: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """Draw a line for every branch and fit; yield legend handles, of output fits if there are."""
    names = list(part["branch"].unique())
    both = part.groupby("branch")["weighted"].any()
    for (name, weighted), rows in by_fit(part).items():
        ratios = rows.groupby("rank")["ratio"]
        means = pd.DataFrame([geometric_mean(r) for _, r in ratios], index=list(ratios.groups))
        looks = look_in_order(names.index(name)) | {"linestyle": "-" if weighted else "--"}
        looks |= {"color": FULL_COLOUR} if name == MORE_BITS else {}
        looks |= {} if weighted else {"markerfacecolor": "white"}
        halves = [means["mean"] - means["low"], means["high"] - means["mean"]]
        handle = axes.errorbar(means.index, means["mean"], halves, elinewidth=0.7, **looks)
        if weighted or not both[name]:
            yield name, handle
