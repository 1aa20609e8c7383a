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
_SCORES = {"fd": "", "output_mse": "output-mse-"}  # with the beginning of the figure's name
_OVER = {
    "images": "Kendall's tau with its 95 % interval over images; 1 is the same order.",
    "methods": "Kendall's tau with its 95 % interval by the jackknife over points; 1 is the same "
    "order.",
}


def agreement_figures(table: Table, style: Style) -> list[tuple[str, Picture]]:
    """Draw the scores of each pair of models that have methods of a budget in common, by name.

    The scores are the Frechet distance and, of ten methods or more, the held-out output error.
    """
    found = []
    for one, other in combinations(table.blocks, 2):
        if one.model == other.model:
            continue
        for score, begin in _SCORES.items():
            frames = (block.done[~block.done["is_full"]] for block in (one, other))
            first, second = (frame[frame[score].notna()] for frame in frames)
            if pairs := agreements(first, second, score):
                models = {block.model: _header(score, block) for block in (one, other)}
                figure = agreement_figure(models, pairs, style)
                found.append((f"{begin}{one.name}-{other.name}", figure))
    return found


def _header(score: str, block: Block) -> str:
    return frechet_names(block.extractor)[0] if score == "fd" else "held-out output error"


def agreement_figure(
    models: Mapping[str, str], pairs: list[ModelAgreement], style: Style, scale: str = "log"
) -> Picture:
    """Draw a panel for each budget and format: a point is a method, both axes have ``scale``.

    ``models`` are what the axes show of each of the two. Names of methods stand beside the points,
    or in a legend where they do not fit.
    """
    one, other = (f"{shown}, {model}" for model, shown in models.items())
    looks = style.looks(list(dict.fromkeys(m for pair in pairs for m in pair.values.index)))
    title = f"Do {' and '.join(models)} order methods alike?"
    with drawing.canvas(style, len(pairs) * _EACH, title) as picture:
        panels = picture.subplots(len(pairs), 1, squeeze=False)[:, 0]
        for axes, pair in zip(panels, pairs, strict=True):
            _draw(axes, pair, looks, scale)
            axes.set(xlabel=one, ylabel=other)
        named = [_name(axes, pair, looks, style) for axes, pair in zip(panels, pairs, strict=True)]
        handles = {
            style.label(method): panels[0].plot([], [], **_dot(look))[0]
            for method, look in looks.items()
        }
        drawing.explain(picture, {} if all(named) else handles, _OVER[pairs[0].over])
    return picture


def _draw(axes: Axes, pair: ModelAgreement, looks: Mapping[str, Look], scale: str) -> None:
    for method, row in pair.values.iterrows():
        axes.plot(row["one"], row["other"], **_dot(looks[str(method)]))
    for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        set_scale(scale)
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
