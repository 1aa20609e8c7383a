"""Figure: the best score of each search after how many forwards, and the error of its answer."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ...records.runs import Runs
from ...records.settings import objective_of
from ...records.statistics import Spread, over_seeds, spread, spread_label
from .. import drawing
from ..drawing import Picture
from ..looks import CONTEXT, Look, Style, is_context
from .runs import SearchComparison, read_table

_PITCH = 0.022  # of the width of the axis, between the centres of two markers
Looks = Mapping[str, Look]


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


def anytime(comparison: SearchComparison, runs: Runs, style: Style | None = None) -> list[Picture]:
    """Draw one figure for each objective by which some search scored complete allocations.

    Above, the best score so far; below, the held-out error of all answers.
    """
    found = progress(comparison, runs)
    objectives = dict.fromkeys(p.objective for p in found if p.curve is not None)
    style = style or Style()
    return [_figure(comparison, objective, found, style) for objective in objectives]


def progress(comparison: SearchComparison, runs: Runs) -> list[Progress]:
    """Return the progress of every search, by method."""
    found = []
    for method, rows in comparison.searches.items():
        traces = [trace for job in rows["job"] if (trace := read_table(runs, job)) is not None]
        ends = rows["search_evals"].tolist()
        curve = anytime_curve(traces, ends) if len(traces) == len(rows) else None
        objective, held_out = objective_of(rows["recipe"].iloc[0]), over_seeds(rows, "output_mse")
        spent = statistics.fmean(ends)
        found.append(Progress(method, objective, spent, len(rows), curve, held_out))
    return found


def anytime_curve(traces: Sequence[pd.DataFrame], ends: Sequence[float]) -> pd.DataFrame | None:
    """Return the best score so far as a step function: ``mean``, ``low``, ``high`` by forwards.

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
    return pd.DataFrame(rows).assign(forwards=places)


def _figure(
    comparison: SearchComparison, objective: str, found: Sequence[Progress], style: Style
) -> Picture:
    ranked = sorted(found, key=lambda p: p.held_out.mean if p.held_out else math.inf)
    looks = style.looks([each.method for each in ranked])
    alike = [each for each in found if each.objective == objective]
    curves = {each.method: each.curve for each in alike if each.curve is not None}
    spent = {each.method: each for each in found if each.forwards > 0}
    answers = {name: each.held_out for name, each in spent.items() if each.held_out is not None}
    places = side_by_side([spent[method].forwards for method in answers])
    begins = [float(each.curve["forwards"].iloc[0]) for each in found if each.curve is not None]
    title = f"Best {objective} by evaluations: {comparison.title}"
    with drawing.canvas(style, 3.3, title) as picture:
        upper, lower = picture.subplots(2, 1, sharex=True, height_ratios=[1.2, 1])
        shown = {
            name: looks[name]
            for name in (each.method for each in found)
            if (name in curves or name in answers) and not is_context(looks[name])
        }
        handles = {style.label(n): upper.plot([], [], **look)[0] for n, look in shown.items()}
        if len(looks) > len(shown):
            handles["others"] = upper.plot([], [], color=CONTEXT, marker="o")[0]
        _draw_curves(upper, curves, looks)
        upper.set(ylabel=f"best {objective}, search inputs")
        plain = {name: over_seeds(rows, "output_mse") for name, rows in comparison.plain.items()}
        known = {f"{style.label(name)} (no search)": held for name, held in plain.items() if held}
        for (method, held_out), place in zip(answers.items(), places, strict=True):
            drawing.error_bar(lower, place, held_out, **looks[method])
        drawing.log_y(lower, [*answers.values(), *known.values()])
        handles |= drawing.reference_lines(lower, known)
        lower.set_ylabel("output MSE of the answer, held-out inputs")
        lower.set_xlabel("full forwards of the calibration inputs spent")
        drawing.log_x(lower, [*begins, *(each.forwards for each in spent.values())])
        drawing.explain(picture, handles, _note(found, curves))
    return picture


def _draw_curves(axes: Axes, curves: Mapping[str, pd.DataFrame], looks: Looks) -> None:
    for method, curve in curves.items():
        looked, (means, low, high, _, at) = looks[method], curve.to_numpy().T
        axes.plot(at, means, drawstyle="steps-post", **{**looked, "marker": None})
        band = {"step": "post", "color": looked["color"], "alpha": 0.18, "linewidth": 0}
        axes.fill_between(at, low, high, **band)
        drawing.error_bar(axes, at[-1], Spread(means[-1], low[-1], high[-1], 1), **looked)
    drawing.log_y(axes, [row for curve in curves.values() for row in curve.to_numpy()])


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
    centre = np.exp(groups.transform(lambda values: np.log(values).mean()))
    return given.where(groups.transform("size") == 1, centre * step**place).tolist()


def _note(found: Sequence[Progress], curves: Mapping[str, pd.DataFrame]) -> str:
    silent = [each.method for each in found if each.method not in curves]
    notes = [spread_label(each.seeds for each in found)]
    if side_by_side(spent := [each.forwards for each in found if each.forwards > 0]) != spent:
        notes.append("Below, markers of like cost are moved apart.")
    if silent:
        notes.append(f"No complete allocation scored by: {', '.join(silent)}.")
    return " ".join(notes)
