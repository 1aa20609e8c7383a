"""Figure: what each search had found after how many forwards, and what its answer is worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..style import look
from .anytime_data import Progress, progress
from .drawing import (
    COLUMN,
    drawing,
    error_bar,
    grid,
    legend_above,
    log_x,
    log_y,
    note_below,
    reference_lines,
)
from .seeds import Spread, over_seeds, spread_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...records.store import RecordStore
    from .runs import SearchComparison

_PITCH = 0.022  # of the width of the axis, between the centres of two markers


def anytime(contest: SearchComparison, store: RecordStore) -> list[Figure]:
    """One figure for each objective that some search of ``contest`` scored complete allocations by.

    Above, the best score so far on the inputs of the search; its marker is the end. Below, the
    error of the answer on held-out inputs, also of methods without such scores.
    """
    found = progress(contest, store)
    plain = {method: over_seeds(own, "output_mse") for method, own in contest.plain.items()}
    lines = {method: held for method, held in plain.items() if held is not None}
    objectives = dict.fromkeys(p.objective for p in found if p.curve is not None)
    return [_figure(contest, objective, found, lines) for objective in objectives]


def _figure(
    contest: SearchComparison,
    objective: str,
    found: Sequence[Progress],
    plain: Mapping[str, Spread],
) -> Figure:
    looks = {own.method: look(number) for number, own in enumerate(found)}
    curves = [own for own in found if own.curve is not None and own.objective == objective]
    with drawing(COLUMN, 4.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.2, 1])
        handles = {
            own.method: upper.plot([], [], markersize=4, linewidth=1.1, **looks[own.method])[0]
            for own in found
            if own in curves or (own.held_out is not None and own.forwards > 0)
        }
        _draw_curves(upper, curves, looks)
        upper.set_title(contest.title, loc="left")
        upper.set_ylabel(f"best {objective} so far\n(inputs of the search)")
        handles |= _draw_answers(lower, found, looks, plain)
        lower.set_ylabel("output MSE of the answer\n(held-out inputs)")
        lower.set_xlabel("evaluations spent (full forwards of the calibration inputs)")
        log_x(lower, _forwards(found))
        legend_above(figure, handles, COLUMN)
        note_below(figure, _note(found, curves), COLUMN)
    return figure


def _draw_curves(axes: Axes, curves: Sequence[Progress], looks: Mapping[str, Any]) -> None:
    values: list[Spread] = []
    for own in curves:
        if own.curve is None:
            continue
        curve, looked = own.curve, looks[own.method]
        line = {key: looked[key] for key in ("color", "linestyle")}
        axes.plot(curve["forwards"], curve["mean"], drawstyle="steps-post", linewidth=1.1, **line)
        axes.fill_between(
            curve["forwards"], curve["low"], curve["high"],
            step="post", color=looked["color"], alpha=0.18, linewidth=0,
        )  # fmt: skip
        steps = zip(curve["mean"], curve["low"], curve["high"], strict=True)
        values += (Spread(*step, own.seeds) for step in steps)
        error_bar(axes, curve["forwards"].iloc[-1], values[-1], **looked)
    log_y(axes, values)
    grid(axes)


def _draw_answers(
    axes: Axes, found: Sequence[Progress], looks: Mapping[str, Any], plain: Mapping[str, Spread]
) -> dict[str, Any]:
    """Legend handles of ``plain``."""
    values = list(plain.values())
    shown = [own for own in found if own.held_out is not None and own.forwards > 0]
    for own, x in zip(shown, side_by_side([own.forwards for own in shown]), strict=True):
        if own.held_out is not None:
            error_bar(axes, x, own.held_out, **looks[own.method])
            values.append(own.held_out)
    log_y(axes, values)
    grid(axes)
    return reference_lines(axes, {f"{method} (no search)": own for method, own in plain.items()})


def side_by_side(forwards: Sequence[float]) -> list[float]:
    """``forwards`` moved apart on a logarithmic axis where markers would cover each other."""
    if not forwards:
        return []
    step = max(max(forwards) / min(forwards), 2.0) ** _PITCH
    order = sorted(range(len(forwards)), key=lambda at: forwards[at])
    crowds: list[list[int]] = []
    for at in order:
        if crowds and forwards[at] < forwards[crowds[-1][0]] * step:
            crowds[-1].append(at)
        else:
            crowds.append([at])
    moved = list(forwards)
    for crowd in crowds:
        centre = math.exp(statistics.fmean(math.log(forwards[at]) for at in crowd))
        if len(crowd) > 1:
            for place, at in enumerate(sorted(crowd)):
                moved[at] = centre * step ** (place - (len(crowd) - 1) / 2)
    return moved


def _forwards(found: Sequence[Progress]) -> list[float]:
    begins = [float(own.curve["forwards"].iloc[0]) for own in found if own.curve is not None]
    return [*begins, *(own.forwards for own in found if own.forwards > 0)]


def _note(found: Sequence[Progress], curves: Sequence[Progress]) -> str:
    silent = [own.method for own in found if own not in curves]
    notes = [spread_label(own.seeds for own in found)]
    if side_by_side(spent := [own.forwards for own in found if own.forwards > 0]) != spent:
        notes.append("Below, markers of like cost are moved apart.")
    if silent:
        notes.append(f"No complete allocation scored by: {', '.join(silent)}.")
    return " ".join(notes)
