"""Figure: scores of methods on two models, and how far the models agree on the order."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import matplotlib.ticker
from matplotlib.axes import Axes

from ..records.agreement import ModelAgreement, agreements
from ..records.columns import frechet_names
from . import drawing
from .drawing import Picture
from .fitting import End, name_ends
from .looks import MOST, Look, Style, look
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
    for score, (one, other), pairs in agreeing(table):
        models = {block.model: _header(score, block) for block in (one, other)}
        name = f"{_SCORES[score]}{one.name}-{other.name}"
        found.append((name, agreement_figure(models, pairs, style)))
    return found


def agreeing(table: Table) -> Iterator[tuple[str, tuple[Block, Block], list[ModelAgreement]]]:
    """Yield each score by which two models can be compared, their blocks, and how they agree."""
    for one, other in combinations(table.blocks, 2):
        for score in _SCORES if one.model != other.model else ():
            frames = (block.done[~block.done["is_full"]] for block in (one, other))
            first, second = (frame[frame[score].notna()] for frame in frames)
            if pairs := agreements(first, second, score):
                yield score, (one, other), pairs


def agreement_rows(scores: str, pairs: Iterable[ModelAgreement]) -> Iterator[dict[str, str]]:
    """Yield the cells of a row of Markdown for each agreement of ``scores``."""
    for pair in pairs:
        where = " ".join(part for part in (pair.budget, pair.format) if part)
        interval = f"{pair.low:.2f} to {pair.high:.2f}, over {pair.over}"
        cells = (scores, where, str(len(pair.values)), f"{pair.tau:.2f}", interval)
        yield dict(zip(("order by", "at", "compared", "τ", "95 % interval"), cells, strict=True))


def agreement_table(table: Table) -> list[dict[str, str]]:
    """Return the rows of ``agreement_rows`` for all pairs of models."""
    return [
        row
        for score, (one, other), pairs in agreeing(table)
        for row in agreement_rows(_shared([_header(score, b) for b in (one, other)]), pairs)
    ]


def _shared(names: list[str]) -> str:
    return " and ".join(dict.fromkeys(names))


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
    names = list(dict.fromkeys(str(name) for pair in pairs for name in pair.values.index))
    looks = style.looks(names)
    if len(names) > MOST:  # of which a legend would show some in one look
        looks = {name: look(number) for number, name in enumerate(names)}
    title = f"Whether {' and '.join(models)} order methods alike"
    with drawing.canvas(style, len(pairs) * _EACH, title) as picture:
        panels = picture.subplots(len(pairs), 1, squeeze=False)[:, 0]
        for axes, pair in zip(panels, pairs, strict=True):
            _draw(axes, pair, looks, scale)
            axes.set(xlabel=one, ylabel=other)
        named = [_name(axes, pair, looks, style) for axes, pair in zip(panels, pairs, strict=True)]
        handles = {
            style.label(method): panels[0].plot([], [], **_dot(own))[0]
            for method, own in looks.items()
        }
        drawing.explain(picture, {} if all(named) else handles, _OVER[pairs[0].over])
    return picture


def _draw(axes: Axes, pair: ModelAgreement, looks: Mapping[str, Look], scale: str) -> None:
    for method, row in pair.values.iterrows():
        axes.plot(row["one"], row["other"], **_dot(looks[str(method)]))
    for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        set_scale(scale)
        axis.set_major_formatter(matplotlib.ticker.StrMethodFormatter("{x:g}"))
        if scale == "log":  # within one decade, numbers in between are named too
            axis.set_minor_formatter(_PlainNumbers(minor_thresholds=(1, 0.5)))
    where = " ".join(part for part in (pair.budget, pair.format) if part)
    found = f"{pair.tau:.2f} ({pair.low:.2f} to {pair.high:.2f})"
    title = ": ".join(part for part in (where, f"τ = {found}") if part)
    axes.set_title(title, fontsize=drawing.SMALL, loc="left")


class _PlainNumbers(matplotlib.ticker.LogFormatter):
    """Names the numbers that ``LogFormatter`` names, without exponents."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _name(axes: Axes, pair: ModelAgreement, looks: Mapping[str, Look], style: Style) -> bool:
    ends = {
        style.label(str(method)): End(
            row["one"], row["other"], looks[str(method)]["color"],
            method == style.selection.highlight,
        )
        for method, row in pair.values.iterrows()
    }  # fmt: skip
    return name_ends(axes, ends)


def _dot(own: Look) -> Look:
    return {**own, "linestyle": ""}
