"""How far one quantized model stands for its method: variance between realizations and images."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..core.errors import BenchError
from ..core.jackknife import GROUPS, standard_error
from .frame import records_frame
from .schema import JobRecord
from .statistics import combined_half_width

COUNTS = (1, 3, 5)  # realizations whose half-widths and coverage are reported
DRAWS, SEED = 4000, 0  # of the simulation
_CONDITION = ["model", "method", "budget", "format", "seed"]


def realization_table(records: Sequence[JobRecord]) -> pd.DataFrame:
    """Return a row for each method, budget, format and seed with two realizations or more.

    Columns: ``realizations``, ``fd`` (their mean), ``sd_between`` (standard deviation of FD between
    them, ddof 1), ``sd_images`` (standard error over images of one of them, by the jackknife: the
    root of the mean square), and for R in 1, 3, 5 the half-width ``half_R`` of the 95 % interval of
    a mean of R, and the share ``covered_R`` of simulated intervals that hold the true value. One
    realization has no variance between: its interval is over images alone. Raises BenchError where
    no method has two realizations with intervals.
    """
    frame = records_frame(records)
    done = frame[frame["is_done"] & ~frame["is_full"] & frame["fd_replicates"].map(len).gt(0)]
    rows = []
    for key, group in done.groupby(_CONDITION, sort=False):
        if len(group) < 2:
            continue
        images = float(np.sqrt(np.mean([standard_error(r) ** 2 for r in group["fd_replicates"]])))
        between = float(group["fd"].std(ddof=1))
        row = dict(zip(_CONDITION, key, strict=True)) | {
            "realizations": len(group), "fd": group["fd"].mean(),
            "sd_between": between, "sd_images": images,
        }  # fmt: skip
        for count in COUNTS:
            row[f"half_{count}"] = _half_width(group, between, count)
            row[f"covered_{count}"] = coverage(between, images, count)
        rows.append(row)
    if not rows:
        raise BenchError(
            "no method has two realizations that are done and have intervals: run the suite with "
            "--realizations 2 or more and at least 20 images"
        )
    order = {budget: at for at, budget in enumerate(dict.fromkeys(done["budget"]))}
    table = pd.DataFrame(rows)
    return table.sort_values(
        ["model", "budget", "sd_between"], key=lambda c: c.map(order) if c.name == "budget" else c,
        kind="stable", ignore_index=True,
    )  # fmt: skip


def _half_width(group: pd.DataFrame, between: float, count: int) -> float | None:
    """Return the half-width of a mean of the first ``count`` rows, ``None`` with fewer rows."""
    first = group.sort_values("realization")["fd_replicates"].head(count)
    if len(first) < count:
        return None
    parts = [(between**2 / count, count - 1)] if count > 1 else []
    return combined_half_width(tuple(np.mean(list(first), axis=0)), parts)


def coverage(between: float, images: float, realizations: int) -> float:
    """Return the share of simulated 95 % intervals of a mean that hold the true value, 0.

    Each of 4,000 draws has ``realizations`` values of standard deviation ``between``, and one error
    over images of standard deviation ``images`` that all of them share, as they are sampled from
    the same noise. 20 groups of images give the replicates of the jackknife. The interval is that
    of ``combined_half_width``, so this tests the arithmetic of every table (our choice).
    """
    draws = np.random.default_rng(SEED)
    covered = 0
    for _ in range(DRAWS):
        values = between * draws.standard_normal(realizations)
        groups = images * math.sqrt(GROUPS) * draws.standard_normal(GROUPS)  # mean: sd ``images``
        mean = values.mean() + groups.mean()
        replicates = values.mean() + (groups.sum() - groups) / (GROUPS - 1)
        parts = []
        if realizations > 1:
            parts = [(float(values.var(ddof=1)) / realizations, realizations - 1)]
        half = combined_half_width(tuple(replicates), parts)
        covered += half is not None and abs(mean) <= half
    return covered / DRAWS
