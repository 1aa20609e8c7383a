"""The study of branches: tables and a figure of errors at equal bytes.

The argument is a table with a row for every layer, branch, fit and size: ``layer``, ``kind``,
``bits``, ``rank``, ``branch``, ``weighted``, ``error``, ``ratio``, ``bytes`` and ``macs``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..core.suite import Job
from ..records.statistics import Spread, spread
from . import drawing
from .ablation import shown_effect
from .notes import notes
from .render import bullets, pipe_table, write_texts

NONE, MORE_BITS = "none", "rows at more bits"  # not branches, in the column of their names
ALL = "all layers"
FIT = ["branch", "weighted"]
_FIGURE_NOTE = (
    "Geometric means over layers of the output error on held-out inputs, relative to no branch. "
    "Solid, filled: fitted to the output; dashed, open: to the weight. Bars: 95 % t intervals "
    "over layers."
)
Fit = tuple[str, bool]  # a branch, and whether it is fitted to inputs
_FITS = {False: "weight", True: "output"}


def write_branches(table: pd.DataFrame, job: Job, folder: Path) -> list[Path]:
    """Write ``branches.md`` and the figure; return their paths."""
    paths = write_texts(folder / "branches", {"md": branch_markdown(table, job)})
    return paths + drawing.save(branch_figure(table), folder / "figures" / "branches")


def branch_markdown(table: pd.DataFrame, job: Job) -> str:
    """Return a table for every number of bits and size, then weighted against unweighted fits."""
    told = notes(
        "branches", layers=table["layer"].nunique(), recipe=job.recipe, seed=job.seed,
        inputs=job.protocol.calibration,
    )  # fmt: skip
    parts = [f"# Branches at equal bytes: {job.model}"]
    compared = table[table["branch"] != NONE]
    for bits, rows in compared.groupby("bits"):
        alone = _by_kind(table[(table["bits"] == bits) & (table["branch"] == NONE)], "error")
        errors = ", ".join(f"{kind} {value:.2%}" for kind, value in alone.items())
        parts += [f"## Weights of {bits} bits", f"Error without a branch: {errors}."]
        for rank, part in rows.groupby("rank"):
            parts += [f"### In the bytes of rank {rank}", _size_rows(part)]
    parts += ["## Fitted to the output against fitted to the weight", _fit_rows(compared)]
    return "\n\n".join([*parts, bullets(told)]) + "\n"


def geometric_mean(ratios: pd.Series) -> Spread:
    """Return the geometric mean over layers and its 95 % t interval, taken of the logarithms."""
    logs = spread(np.log(ratios.to_numpy()).tolist())
    mean, low, high = (float(np.exp(value)) for value in logs[:3])
    return Spread(mean, low, high, logs.seeds)


def wins(part: pd.DataFrame) -> pd.Series:
    """Return by branch and fit the layers with the lowest error, of one number of bits and size."""
    rivals = part[part["branch"] != MORE_BITS]
    best = rivals["error"] == rivals.groupby("layer")["error"].transform("min")
    return best.groupby([rivals[name] for name in FIT], sort=False).sum()


def against(part: pd.DataFrame, other: pd.DataFrame) -> tuple[Spread, int, int]:
    """Return the ratio of errors over layers, how many are below 1, and the number of layers."""
    ratios = part.set_index("layer")["error"] / other.set_index("layer")["error"]
    return geometric_mean(ratios), int((ratios < 1).sum()), len(ratios)


def by_fit(part: pd.DataFrame) -> dict[Fit, pd.DataFrame]:
    """Return the rows of every branch and fit, in their order."""
    groups = part.groupby(FIT, sort=False)
    return {(str(name), bool(weighted)): own for (name, weighted), own in groups}


def _size_rows(part: pd.DataFrame) -> str:
    """Return a row for every branch and fit; of one number of bits and one size."""
    first, won, fits = part["branch"].iloc[0], wins(part), by_fit(part)
    means = pd.DataFrame({fit: _by_kind(rows, "ratio") for fit, rows in fits.items()}).T
    best = means.loc[won.index].min().to_dict()
    lines = []
    for (name, weighted), rows in fits.items():
        is_rival = (name, weighted) in won.index
        cells: dict[str, Any] = {"branch": name, "fitted to": _FITS[weighted]}
        for kind, mean in means.loc[[(name, weighted)]].iloc[0].to_dict().items():
            is_best = is_rival and mean == best[kind]
            cells[str(kind)] = f"**{mean:.3f}**" if is_best else f"{mean:.3f}"
        _, low, high, _ = geometric_mean(rows["ratio"])
        cells[ALL] += f" [{low:.3f}, {high:.3f}]"
        cells["wins"] = won.get((name, weighted), "")
        rival, more = fits.get((first, weighted)), fits.get((MORE_BITS, weighted))
        cells[f"÷ {first}"] = "" if rival is None or name == first else _ratio(rows, rival)
        lower = against(rows, more)[1:] if more is not None and is_rival else ()
        cells[f"< {MORE_BITS}"] = "/".join(map(str, lower))
        cells |= {"bytes": f"{rows['bytes'].sum():,}", "MACs": f"{rows['macs'].sum():,}"}
        lines.append(cells)
    return pipe_table(pd.DataFrame(lines), ["branch", "fitted to"])


def _fit_rows(compared: pd.DataFrame) -> str:
    """Return a row for every branch with both fits, a column for every number of bits and size."""
    both = compared[compared.groupby("branch")["weighted"].transform("nunique") == 2]
    lines: dict[str, dict[str, str]] = {name: {} for name in both["branch"].unique()}
    for (bits, rank, name), rows in both.groupby(["bits", "rank", "branch"]):
        ratio = _ratio(rows[rows["weighted"]], rows[~rows["weighted"]])
        lines[str(name)][f"{bits} bits, rank {rank}"] = ratio
    return pipe_table(pd.DataFrame(lines).T.rename_axis("branch").reset_index(), ["branch"])


def _ratio(rows: pd.DataFrame, other: pd.DataFrame) -> str:
    ratio, lower, layers = against(rows, other)
    return f"{shown_effect(*ratio[:3], log=True)}, {lower}/{layers}"


def _by_kind(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return the geometric means of a column by kind of layer, then over all layers."""
    logs = np.log(rows[column])
    kinds = logs.groupby(rows["kind"], sort=False).mean()
    return np.exp(pd.concat([kinds, pd.Series({ALL: logs.mean()})]))


def branch_figure(table: pd.DataFrame) -> Figure:
    """Draw a row of panels for every number of bits: all layers, then each type of layer."""
    compared = table[table["branch"] != NONE]
    kinds, rows = [ALL, *compared["kind"].unique()], list(compared.groupby("bits"))
    handles: dict[str, Any] = {}
    with drawing.canvas(drawing.PAGE, 0.8 + 1.75 * len(rows)) as figure:
        count = len(kinds) * len(rows)
        panels = iter(drawing.panels(figure, count, len(kinds), sharex=True, sharey="row"))
        for at, (bits, own) in enumerate(rows):
            for kind, axes in zip(kinds, panels, strict=False):
                handles |= dict(_curves(axes, own if kind == ALL else own[own["kind"] == kind]))
                axes.axhline(1, color=drawing.FULL_COLOUR, linewidth=0.6)
                axes.set(xlabel="bytes of rank", ylabel=f"error ÷ none, {bits} bits")
                axes.set_title("" if at else kind, loc="center")
                axes.set_ylim(bottom=0)
                axes.set_xscale("log", base=2)
                axes.set_xticks(sorted(set(compared["rank"])))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.minorticks_off()
                axes.label_outer()
        drawing.explain(figure, handles, _FIGURE_NOTE)
    return figure


def _curves(axes: Axes, part: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """Draw a line for every branch and fit; yield legend handles, of output fits if there are."""
    names = list(part["branch"].unique())
    both = part.groupby("branch")["weighted"].any()
    for (name, weighted), rows in by_fit(part).items():
        ratios = rows.groupby("rank")["ratio"]
        means = pd.DataFrame([geometric_mean(own) for _, own in ratios], index=list(ratios.groups))
        looks = drawing.look(names.index(name)) | {"linestyle": "-" if weighted else "--"}
        looks |= {"color": drawing.FULL_COLOUR} if name == MORE_BITS else {}
        looks |= {} if weighted else {"markerfacecolor": "white"}
        halves = [means["mean"] - means["low"], means["high"] - means["mean"]]
        handle = axes.errorbar(means.index, means["mean"], halves, elinewidth=0.7, **looks)
        if weighted or not both[name]:
            yield name, handle
