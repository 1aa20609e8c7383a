"""Figure: the best score of each search after how many forwards, and the error of its answer."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...records.settings import objective_of
from ...records.statistics import Spread, over_seeds, spread, spread_label
from ...records.store import RecordStore
from ..drawing import (
    COLUMN,
    drawing,
    error_bar,
    grid,
    legend_above,
    log_x,
    log_y,
    look,
    note_below,
    reference_lines,
)
from .runs import SearchComparison, read_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PITCH = 0.022  # of the width of the axis, between the centres of two markers


@dataclass(frozen=True, eq=False)
class Progress:
    """One method: the forwards of the calibration set it spent (mean over seeds), and its results.

    ``curve`` is that of ``anytime_curve``, ``None`` if no complete allocation was scored;
    ``held_out`` the output MSE of the answer on inputs that no search sees.
    """

    method: str
    objective: str
    forwards: float
    seeds: int
    curve: pd.DataFrame | None
    held_out: Spread | None


def anytime(comparison: SearchComparison, store: RecordStore) -> list[Figure]:
    """Draw one figure for each objective by which some search scored complete allocations.

    Above, the best score so far on the inputs of the search; below, the error of the answer on
    held-out inputs, also of methods without such scores.
    """
    found = progress(comparison, store)
    plain = {method: over_seeds(own, "output_mse") for method, own in comparison.plain.items()}
    lines = {method: held for method, held in plain.items() if held is not None}
    objectives = dict.fromkeys(p.objective for p in found if p.curve is not None)
    return [_figure(comparison, objective, found, lines) for objective in objectives]


def progress(comparison: SearchComparison, store: RecordStore) -> list[Progress]:
    """Return the progress of every search, by method."""
    found = []
    for method, own in comparison.searches.items():
        traces = [trace for job in own["job"] if (trace := read_table(store, job)) is not None]
        ends = own["search_evals"].tolist()
        curve = anytime_curve(traces, ends) if len(traces) == len(own) else None
        objective = objective_of(own["recipe"].iloc[0])
        held_out = over_seeds(own, "output_mse")
        found.append(Progress(method, objective, statistics.fmean(ends), len(own), curve, held_out))
    return found


def anytime_curve(traces: Sequence[pd.DataFrame], ends: Sequence[float]) -> pd.DataFrame | None:
    """Return the best score so far as a step function: ``forwards``, ``mean``, ``low``, ``high``.

    One trace and one ``end`` (forwards spent in all) for each seed; the curve begins where every
    seed has scored a complete allocation that fits. ``None`` if a seed never scored one.
    """
    bests = [trace.dropna(subset="best").set_index("forwards")["best"] for trace in traces]
    steps = [best[best.diff() != 0] for best in bests]
    if not steps or any(step.empty for step in steps):
        return None
    places = np.unique(np.concatenate([*(step.index for step in steps), ends]))
    places = places[places >= max(step.index[0] for step in steps)]
    values = [step.to_numpy()[step.index.searchsorted(places, side="right") - 1] for step in steps]
    rows = [spread(list(column)) for column in np.transpose(values)]
    return pd.DataFrame(rows, columns=list(Spread._fields)).assign(forwards=places)


def _figure(
    comparison: SearchComparison,
    objective: str,
    found: Sequence[Progress],
    plain: Mapping[str, Spread],
) -> Figure:
    looks = {own.method: look(number) for number, own in enumerate(found)}
    curves = [own for own in found if own.curve is not None and own.objective == objective]
    with drawing(COLUMN, 4.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.2, 1])
        handles = {
            own.method: upper.plot([], [], **looks[own.method])[0]
            for own in found
            if own in curves or (own.held_out is not None and own.forwards > 0)
        }
        _draw_curves(upper, curves, looks)
        upper.set_title(comparison.title, loc="left")
        upper.set_ylabel(f"best {objective} so far\n(inputs of the search)")
        handles |= _draw_answers(lower, found, looks, plain)
        lower.set_ylabel("output MSE of the answer\n(held-out inputs)")
        lower.set_xlabel("evaluations spent (full forwards of the calibration inputs)")
        begins = [float(own.curve["forwards"].iloc[0]) for own in found if own.curve is not None]
        log_x(lower, [*begins, *(own.forwards for own in found if own.forwards > 0)])
        legend_above(figure, handles)
        note_below(figure, _note(found, curves))
    return figure


def _draw_curves(axes: Axes, curves: Sequence[Progress], looks: Mapping[str, Any]) -> None:
    values: list[Spread] = []
    for own in curves:
        if own.curve is not None:
            looked, (means, low, high, _, at) = looks[own.method], own.curve.to_numpy().T
            axes.plot(at, means, drawstyle="steps-post", **{**looked, "marker": None})
            band = {"step": "post", "color": looked["color"], "alpha": 0.18, "linewidth": 0}
            axes.fill_between(at, low, high, **band)
            values += [Spread(*row) for row in own.curve[list(Spread._fields)].to_numpy()]
            error_bar(axes, at[-1], values[-1], **looked)
    log_y(axes, values)
    grid(axes)


def _draw_answers(
    axes: Axes, found: Sequence[Progress], looks: Mapping[str, Any], plain: Mapping[str, Spread]
) -> dict[str, Any]:
    """Draw the answers; return the legend handles of ``plain``."""
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
    """Return ``forwards`` moved apart on a logarithmic axis where markers would overlap."""
    if not forwards:
        return []
    given = pd.Series(forwards, dtype="float64")
    step = max(given.max() / given.min(), 2.0) ** _PITCH
    crowds: list[float] = []  # the first forwards of each crowd
    for value in sorted(forwards):
        if not crowds or value >= crowds[-1] * step:
            crowds.append(value)
    groups = given.groupby(np.searchsorted(crowds, given, side="right"))
    place = groups.cumcount() - (groups.transform("size") - 1) / 2
    centre = np.exp(groups.transform(lambda own: np.log(own).mean()))
    return given.where(groups.transform("size") == 1, centre * step**place).tolist()


def _note(found: Sequence[Progress], curves: Sequence[Progress]) -> str:
    silent = [own.method for own in found if own not in curves]
    notes = [spread_label(own.seeds for own in found)]
    if side_by_side(spent := [own.forwards for own in found if own.forwards > 0]) != spent:
        notes.append("Below, markers of like cost are moved apart.")
    if silent:
        notes.append(f"No complete allocation scored by: {', '.join(silent)}.")
    return " ".join(notes)
