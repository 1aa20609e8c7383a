"""Figures of stacked bars: what BitOPs are spent on, and the time of every stage."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ..records.columns import OVERHEAD, unit_of
from ..records.frame import rows_of
from ..records.runs import Runs
from . import drawing
from .drawing import Picture
from .looks import COLOURS, MOST, Style
from .search.runs import left_out
from .table import Block

LINEAR, REST = "bitops_linear", "rest"
BITOPS_PARTS = (LINEAR, *OVERHEAD, REST)
BARS = 26  # that fit on a page
PAGES = 4  # at most: nobody reads more, and each takes a second to draw
OTHERS = "other stages"
_STAGES = ("load", "calibrate", "search", "quantize", "tune", "correct", "sample", "score")
_KEYS = ["method", "budget", "format"]
_GREYS = {LINEAR: "#6e6e6e", REST: "#cfcfcf", OTHERS: "#cfcfcf"}
_TEXTS = {LINEAR: "linear layers", REST: "all else", "overhead_zero_point": "zero points"}


def bitops_parts(block: Block) -> pd.DataFrame:
    """Return the parts of ``bitops`` of every method, budget and format, which add up to it.

    Columns: ``_KEYS``, ``BITOPS_PARTS`` and ``bitops``; means over seeds. ``rest`` is all that is
    executed in floating point or at a fixed precision. Rows from before the rule that counts
    overhead by source are left out.
    """
    known = [name for name in BITOPS_PARTS if name != REST]
    done = block.done[~block.done["is_full"]]
    done = done[done[known].notna().all(axis=1)]
    means = done.groupby(_KEYS, sort=False)[[*known, "bitops"]].mean().astype("float64")
    means[REST] = means["bitops"] - means[known].sum(axis=1)
    return means.reset_index()


def seconds_parts(block: Block, runs: Runs) -> pd.DataFrame:
    """Return the seconds of every stage of every method, budget and format; means over seeds.

    Columns: ``_KEYS`` and the stages in the order of the jobs. Beyond seven, the shortest are
    summed up as other stages.
    """
    records = {record.job: record for record in runs.records}
    rows = block.done[~block.done["is_full"] & block.done["job"].isin(records)]
    seconds = pd.DataFrame([records[job].seconds for job in rows["job"]], index=rows.index)
    stages = _stages([tuple(records[job].seconds) for job in rows["job"]])
    means = rows[_KEYS].join(seconds).groupby(_KEYS, sort=False)[stages].mean().fillna(0.0)
    if len(stages) > MOST:
        longest = means.max().sort_values(ascending=False).index[: MOST - 1]
        others = [stage for stage in stages if stage not in longest]
        means[OTHERS] = means[others].sum(axis=1)
        means = means.drop(columns=others)
    return means.reset_index()


def _stages(orders: Sequence[Sequence[str]]) -> list[str]:
    """Return all stages, each behind those that come before it in some job."""
    found: list[str] = []
    for order in sorted(set(orders), key=lambda order: (-len(order), order)):
        for at, stage in enumerate(order):
            if stage not in found:
                before = [found.index(other) for other in order[:at] if other in found]
                found.insert(max(before, default=-1) + 1, stage)
    return found


def overhead_figures(block: Block, style: Style) -> list[Picture]:
    """Draw the parts of BitOPs as stacked bars, pages of at most 26.

    More than four pages are left out, with a warning.
    """
    parts = bitops_parts(block)
    unit, prefix = unit_of(parts["bitops"])
    label = f"{prefix}BitOPs per forward of one image"
    scaled = parts.assign(**{name: parts[name] / unit for name in BITOPS_PARTS})
    return _pages(
        scaled,
        list(BITOPS_PARTS),
        (f"BitOPs by source: {block.model}", label),
        style,
    )


def seconds_figures(block: Block, runs: Runs, style: Style) -> list[Picture]:
    """Draw the time of every stage as stacked bars, pages of at most 26.

    More than four pages are left out, with a warning.
    """
    parts = seconds_parts(block, runs)
    names = [name for name in parts.columns if name not in _KEYS]
    total = parts[names].sum(axis=1).max() if len(parts) else 0.0
    unit, word = (3600.0, "hours") if total > 7200 else (1.0, "seconds")
    scaled = parts.assign(**{name: parts[name] / unit for name in names})
    words = f"Time of every stage: {block.model}", f"{word} of wall time"
    pages = _pages(scaled, names, words, style)
    for page in pages:
        page.note = (
            "Wall time on the machine of each job; a stage whose result was kept takes none."
        )
    return pages


def _pages(
    parts: pd.DataFrame, names: Sequence[str], words: tuple[str, str], style: Style
) -> list[Picture]:
    if len(parts) > PAGES * BARS:
        left_out(f"{words[0]}: {len(parts)} bars; give --methods or --budgets to choose some")
        return []
    shown = [name for name in names if parts[name].gt(0).any()]
    size = -(-len(parts) // max(1, -(-len(parts) // BARS)))  # of pages that are alike
    pages = [parts.iloc[at : at + size] for at in range(0, len(parts), size or 1)]
    titles = [f"{words[0]}, {', '.join(map(str, page['budget'].unique()))}" for page in pages]
    colours = colours_of(shown)
    return [
        stacked(page, colours, (title, words[1]), style)
        for page, title in zip(pages, titles, strict=True)
    ]


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for every part; overhead and usual stages have the same in every figure."""
    fixed = dict(zip((*OVERHEAD, "", *_STAGES), 2 * COLOURS, strict=True))
    taken = {fixed.get(name) for name in names}
    free = iter([colour for colour in COLOURS if colour not in taken])
    return {name: _GREYS.get(name) or fixed.get(name) or next(free) for name in names}


def stacked(
    parts: pd.DataFrame, colours: Mapping[str, str], words: tuple[str, str], style: Style
) -> Picture:
    """Draw a bar for every row of ``parts``, of the columns in ``colours`` side by side.

    ``words`` are the title and the label of the axis. Budgets are above each other, with a gap.
    """
    several, rows = parts["format"].nunique() > 1, rows_of(parts)
    names = [[style.label(str(row["method"])), str(row["budget"]), str(row["format"])]
             for row in rows]  # fmt: skip
    labels = [" ".join(name if several else name[:2]) for name in names]
    gaps = 0.5 * parts["budget"].ne(parts["budget"].shift()).cumsum()
    places = pd.Series(range(len(parts)), parts.index) + gaps
    title, label = words
    with drawing.canvas(style, 0.5 + 0.145 * len(parts), title) as picture:
        axes = picture.add_subplot()
        # Long names leave narrow axes: the label ends with them and begins below the names.
        axes.set_xlabel(label, loc="right")
        left = pd.Series(0.0, parts.index)
        for name, colour in colours.items():
            text = _TEXTS.get(name, name.removeprefix("overhead_"))
            axes.barh(places, parts[name], left=left, height=0.72, color=colour, label=text)
            left = left + parts[name]
        axes.set_yticks(places, labels)
        for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
            if row["method"] == style.selection.highlight:
                tick.set_fontweight("bold")
        axes.set_ylim(places.max() + 0.7, places.min() - 0.7)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        handles = {str(handle.get_label()): handle for handle in axes.containers}
        drawing.explain(picture, handles)
    return picture
