"""What a search had found after how many forwards, over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...records.schema import JobRecord
from ...records.store import RecordStore
from .runs import SearchComparison, read_table
from .seeds import Spread, over_seeds, spread
from .settings import key_of, settings_of, without


@dataclass(frozen=True, eq=False)
class Progress:
    """One method: forwards of the calibration set it spent (mean over seeds), and what for.

    ``curve`` is that of ``anytime_curve``, ``None`` where no complete allocation was scored;
    ``held_out`` the output MSE of its answer on inputs that no search sees.
    """

    method: str
    objective: str
    forwards: float
    seeds: int
    curve: pd.DataFrame | None
    held_out: Spread | None


def progress(contest: SearchComparison, store: RecordStore) -> list[Progress]:
    """Every search of ``contest``, by method."""
    return [_progress(method, own, store) for method, own in contest.searches.items()]


def anytime_curve(traces: Sequence[pd.DataFrame], ends: Sequence[float]) -> pd.DataFrame | None:
    """Best score so far as a step function of forwards: ``forwards``, ``mean``, ``low``, ``high``.

    One trace of ``search.trace.COLUMNS`` and one ``end`` (forwards spent in all) for each seed. It
    begins where every seed has scored a complete allocation that fits, and a search that has ended
    keeps its best. ``None`` where a seed never scored one.
    """
    steps = [_improvements(trace) for trace in traces]
    if not steps or any(step.empty for step in steps):
        return None
    begin = max(float(step["forwards"].iloc[0]) for step in steps)
    grid = np.unique(np.concatenate([*(step["forwards"].to_numpy() for step in steps), ends]))
    grid = grid[grid >= begin]
    values = np.array([_at(step, grid) for step in steps])
    rows = [spread(column) for column in values.T.tolist()]
    found = pd.DataFrame(rows, columns=list(Spread._fields)).drop(columns="seeds")
    found.insert(0, "forwards", grid)
    return found


def objective_of(record: JobRecord) -> str:
    """The objective with its parameters, such as ``output-mse``."""
    own = settings_of({"objective": record.recipe.get("objective", {})})
    rest = without(own, ["objective.name"])
    name = str(own.get("objective.name", ""))
    return f"{name} {key_of(rest)}" if rest else name


def _progress(method: str, own: Sequence[JobRecord], store: RecordStore) -> Progress:
    traces = [read_table(store, record.job) for record in own]
    known = [trace for trace in traces if trace is not None]
    ends = [record.search_evals for record in own]
    curve = anytime_curve(known, ends) if len(known) == len(own) else None
    mean = statistics.fmean(ends)
    return Progress(
        method, objective_of(own[0]), mean, len(own), curve, over_seeds(own, "output_mse")
    )


def _improvements(trace: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``trace`` where ``best`` changes."""
    known = trace.dropna(subset=["best"])
    return known[known["best"].diff() != 0]


def _at(step: pd.DataFrame, grid: np.ndarray) -> np.ndarray:
    places = np.searchsorted(step["forwards"].to_numpy(), grid, side="right") - 1
    return step["best"].to_numpy()[places]
