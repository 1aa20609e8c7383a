"""The study of branches on paper: tables and a figure of errors at equal bytes. Pure functions.

Their argument is a table with the fields of ``study.branch_errors.Row`` and its ``ratio``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.suite import Job
from .ablation import shown_effect
from .search.drawing import PAGE, drawing, grid, legend_above, note_below
from .search.seeds import Spread, spread
from .style import FULL_COLOUR, look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NONE, MORE_BITS = "none", "rows at more bits"  # not branches, in the column of their names
ALL = "all layers"
Fit = tuple[str, bool]  # branch, and whether it is weighted
_FITS = {False: "weight", True: "output"}


def branch_markdown(table: pd.DataFrame, job: Job) -> str:
    """A table for every number of bits and size, then weighted fits against unweighted ones."""
    lines = [f"# Branches at equal bytes: {job.model}", ""]
    compared = table[table.branch != NONE]
    for bits, own in compared.groupby("bits"):
        alone = _by_kind(table[(table.bits == bits) & (table.branch == NONE)], "error")
        errors = ", ".join(f"{kind} {value:.2%}" for kind, value in alone.items())
        lines += [f"## Weights of {bits} bits", "", f"Error without a branch: {errors}.", ""]
        for rank, part in own.groupby("rank"):
            lines += [f"### In the bytes of rank {rank}", "", *_size_rows(part), ""]
    lines += ["## Fitted to the output against fitted to the weight", ""]
    lines += [*_fit_rows(compared), ""]
    return "\n".join([*lines, *(f"- {note}" for note in _notes(table, job)), ""])


def geometric_mean(ratios: pd.Series) -> Spread:
    """Geometric mean over layers and its 95 % t interval: that of the mean of the logarithms."""
    logs = spread(np.log(ratios.to_numpy()).tolist())
    mean, low, high = (float(np.exp(value)) for value in logs[:3])
    return Spread(mean, low, high, logs.seeds)


def wins(part: pd.DataFrame) -> dict[Fit, int]:
    """By branch and fit, in how many layers it has the lowest error of all branches; of one number
    of bits and one size. Branches that are equally good win both."""
    rivals = part[part.branch != MORE_BITS]
    best = rivals.groupby("layer").error.transform("min")
    return {
        fit: int((rows.error == best[rows.index]).sum()) for fit, rows in _by_fit(rivals).items()
    }


def against(part: pd.DataFrame, other: pd.DataFrame) -> tuple[Spread, int, int]:
    """Ratio of the errors of two branches, layer by layer; in how many the first is lower, of how
    many."""
    ratios = part.set_index("layer").error / other.set_index("layer").error
    return geometric_mean(ratios), int((ratios < 1).sum()), len(ratios)


def _size_rows(part: pd.DataFrame) -> list[str]:
    """A row for every branch and fit; of one number of bits and one size."""
    kinds = [*dict.fromkeys(part.kind), ALL]
    first = part.branch.iloc[0]
    own, won = _by_fit(part), wins(part)
    means = {fit: _by_kind(rows, "ratio") for fit, rows in own.items()}
    best = {kind: min(means[fit][kind] for fit in won) for kind in kinds}
    heads = ["branch", "fitted to", *kinds, "wins", f"÷ {first}", f"< {MORE_BITS}", "bytes", "MACs"]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * (len(heads) - 2)}"]
    for (name, weighted), rows in own.items():
        fit = name, weighted
        cells = [name, _FITS[weighted]]
        for kind, mean in means[fit].items():
            is_best = fit in won and mean == best[kind]
            cells.append(f"**{mean:.3f}**" if is_best else f"{mean:.3f}")
        _, low, high, _ = geometric_mean(rows.ratio)
        cells[-1] += f" [{low:.3f}, {high:.3f}]"
        cells.append(str(won.get(fit, "")))
        cells.append(_paired(rows, own.get((first, weighted))) if name != first else "")
        cells.append(_lower(rows, own.get((MORE_BITS, weighted))) if fit in won else "")
        cells += [f"{rows.bytes.sum():,}", f"{rows.macs.sum():,}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _fit_rows(compared: pd.DataFrame) -> list[str]:
    """A row for every branch that has both fits, a column for every number of bits and size."""
    sizes = list(compared.groupby(["bits", "rank"]))
    heads = [f"{bits} bits, rank {rank}" for (bits, rank), _ in sizes]
    lines = [f"| branch | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for name, rows in compared.groupby("branch", sort=False):
        if rows.weighted.nunique() < 2:
            continue
        cells = []
        for _, part in sizes:
            own = part[part.branch == name]
            ratio, lower, layers = against(own[own.weighted], own[~own.weighted])
            cells.append(f"{shown_effect(*ratio[:3], log=True)}, {lower}/{layers}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _by_fit(part: pd.DataFrame) -> dict[Fit, pd.DataFrame]:
    """Rows by branch and fit, in their order."""
    fits = dict.fromkeys(zip(part.branch.tolist(), part.weighted.tolist(), strict=True))
    return {
        (name, weighted): part[(part.branch == name) & (part.weighted == weighted)]
        for name, weighted in fits
    }


def _paired(rows: pd.DataFrame, other: pd.DataFrame | None) -> str:
    if other is None:
        return ""
    ratio, lower, layers = against(rows, other)
    return f"{shown_effect(*ratio[:3], log=True)}, {lower}/{layers}"


def _lower(rows: pd.DataFrame, other: pd.DataFrame | None) -> str:
    if other is None:
        return ""
    _, lower, layers = against(rows, other)
    return f"{lower}/{layers}"


def _by_kind(rows: pd.DataFrame, column: str) -> Mapping[str, float]:
    """Geometric means of a column by kind of layer, then over all layers."""
    logs = np.log(rows[column])
    kinds = logs.groupby(rows.kind, sort=False).mean()
    return {str(kind): float(np.exp(own)) for kind, own in (*kinds.items(), (ALL, logs.mean()))}


def _notes(table: pd.DataFrame, job: Job) -> list[str]:
    layers, inputs = table.layer.nunique(), job.protocol.calibration
    recipe = job.recipe
    return [
        f"{layers} layers, rounded as in {recipe.name} (transform {recipe.transform.name}, "
        f"rounding {recipe.rounding.name}); activations are not quantized. Fits see {inputs} "
        f"calibration inputs; errors are on {inputs} others, from noise of their own (seed "
        f"{job.seed}).",
        "Error: squares of what is lost of a layer's output, relative to those of the output. "
        "Numbers by type of layer are geometric means of the error divided by that without a "
        "branch; [ ]: 95 % t interval of the mean logarithm over layers.",
        "Wins: layers where no other branch, of either fit, has a lower error. Then the paired "
        "ratio to the first branch of the same fit, and the layers with a lower error than it, "
        "or than more bits, have.",
        f"{MORE_BITS[0].upper()}{MORE_BITS[1:]}: no branch; as many rows of the weight as the "
        "bytes pay for have one bit more, those whose error (of the weight, or of the output on "
        "calibration inputs) falls most. It adds no MACs, but BitOPs as the bits do.",
        "Bytes: numbers, scales and indices, summed over layers; MACs: of the branches for one row "
        "of every layer's input.",
    ]


def branch_figure(table: pd.DataFrame) -> Figure:
    """A row of panels for every number of bits: all layers, then each type of layer."""
    compared = table[table.branch != NONE]
    kinds, rows = [ALL, *dict.fromkeys(compared.kind)], list(compared.groupby("bits"))
    handles: dict[str, Any] = {}
    with drawing(PAGE, 0.8 + 1.75 * len(rows)) as figure:
        panels: Any = figure.subplots(
            len(rows), len(kinds), sharex=True, sharey="row", squeeze=False
        )
        for line, (bits, own) in zip(panels, rows, strict=True):
            for axes, kind in zip(line, kinds, strict=True):
                part = own if kind == ALL else own[own.kind == kind]
                handles |= dict(_curves(axes, part))
                axes.axhline(1, color=FULL_COLOUR, linewidth=0.6)
                grid(axes)
            line[0].set_ylabel(f"error ÷ none, {bits} bits")
            line[0].set_ylim(bottom=0)
        for axes, kind in zip(panels[0], kinds, strict=True):
            axes.set_title(kind)
        _rank_axes(panels, sorted(set(compared["rank"])))
        legend_above(figure, handles, PAGE)
        note = (
            "Geometric means over layers of the output error on held-out inputs, relative to no "
            "branch. Solid, filled: fitted to the output; dashed, open: to the weight. Bars: 95 % "
            "t intervals over layers."
        )
        note_below(figure, note, PAGE)
    return figure


def _curves(axes: Axes, part: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """Draws a line for every branch and fit; the legend handles of those fitted to the output."""
    names = list(dict.fromkeys(part.branch))
    for (name, weighted), own in _by_fit(part).items():
        sizes = own.groupby("rank").ratio.agg(geometric_mean)
        looks = look(names.index(name))
        if name == MORE_BITS:
            looks["color"] = FULL_COLOUR
        looks |= {"linestyle": "-"} if weighted else {"linestyle": "--", "markerfacecolor": "white"}
        handle = axes.errorbar(
            sizes.index, [v.mean for v in sizes], yerr=_halves(list(sizes)),
            markersize=3.2, linewidth=0.9, elinewidth=0.7, **looks,
        )  # fmt: skip
        if weighted or not part[part.branch == name].weighted.any():
            yield name, handle


def _halves(values: Sequence[Spread]) -> list[list[float]]:
    return [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]


def _rank_axes(panels: Any, ranks: Sequence[int]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    for axes in panels.flat:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(list(ranks)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())
    for axes in panels[-1]:
        axes.set_xlabel("bytes of rank")
