"""Figure: scores of methods on two models, and how far the models agree on the order."""

from collections.abc import Mapping
from itertools import combinations

import matplotlib.ticker
from matplotlib.axes import Axes

from ..records.agreement import ModelAgreement, agreements
from ..records.columns import frechet_names
from . import drawing
from .drawing import Picture
from .fitting import End, name_ends
from .looks import Look, Style
from .table import Block, Table

_EACH = 2.5  # inches of a panel


def agreement_figures(table: Table, style: Style) -> list[tuple[str, Picture]]:
    """Draw each pair of models that have four methods of a budget in common, by name."""
    found = []
    for one, other in combinations(table.blocks, 2):
        frames = (block.done[~block.done["is_full"]] for block in (one, other))
        first, second = (frame[frame["fd"].notna()] for frame in frames)
        if one.model != other.model and (pairs := agreements(first, second)):
            figure = agreement_figure((one, other), pairs, style)
            found.append((f"{one.name}-{other.name}", figure))
    return found


def agreement_figure(
    blocks: tuple[Block, Block], pairs: list[ModelAgreement], style: Style
) -> Picture:
    """Draw a panel for each budget and format: a point is a method, both axes are logarithmic.

    Names stand beside the panels, or in a legend where they do not fit.
    """
    models = [f"{frechet_names(block.extractor)[0]}, {block.model}" for block in blocks]
    looks = style.looks(list(dict.fromkeys(m for pair in pairs for m in pair.values.index)))
    title = f"Do {blocks[0].model} and {blocks[1].model} order methods alike?"
    with drawing.canvas(style, len(pairs) * _EACH, title) as picture:
        panels = picture.subplots(len(pairs), 1, squeeze=False)[:, 0]
        for axes, pair in zip(panels, pairs, strict=True):
            _draw(axes, pair, looks)
            axes.set(xlabel=models[0], ylabel=models[1])
        named = [_name(axes, pair, looks, style) for axes, pair in zip(panels, pairs, strict=True)]
        handles = {
            style.label(method): panels[0].plot([], [], **_dot(look))[0]
            for method, look in looks.items()
        }
        note = "Kendall's tau with its 95 % interval over images; 1 is the same order of methods."
        drawing.explain(picture, {} if all(named) else handles, note)
    return picture


def _draw(axes: Axes, pair: ModelAgreement, looks: Mapping[str, Look]) -> None:
    for method, row in pair.values.iterrows():
        axes.plot(row["one"], row["other"], **_dot(looks[str(method)]))
    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        scale("log")
        axis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    where = " ".join(part for part in (pair.budget, pair.format) if part)
    found = f"{pair.tau:.2f} ({pair.low:.2f} to {pair.high:.2f})"
    axes.set_title(f"{where}: τ = {found}", fontsize=drawing.SMALL, loc="left")


def _name(axes: Axes, pair: ModelAgreement, looks: Mapping[str, Look], style: Style) -> bool:
    ends = {
        style.label(str(method)): End(
            row["one"], row["other"], looks[str(method)]["color"],
            method == style.selection.highlight,
        )
        for method, row in pair.values.iterrows()
    }  # fmt: skip
    return name_ends(axes, ends)


def _dot(look: Look) -> Look:
    return {**look, "linestyle": ""}
