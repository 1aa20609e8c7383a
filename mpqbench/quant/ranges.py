"""Calibrated input ranges: per time step, merged into as many grids as a format has."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..core.errors import BenchError

TRAINED_STEPS = 1000  # of every DiT; a time-grouped format divides the time axis


@dataclass(frozen=True)
class StepRanges:
    """Smallest and largest input value at each time step: all (steps,)."""

    steps: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of_rows(cls, rows: torch.Tensor, times: torch.Tensor) -> StepRanges:
        """Ranges of rows (n, in) seen at times (n,)."""
        steps, at = times.unique(return_inverse=True)
        at = at.to(rows.device)
        low = rows.new_full((len(steps),), float("inf"))
        high = rows.new_full((len(steps),), float("-inf"))
        low.scatter_reduce_(0, at, rows.amin(1), "amin")
        high.scatter_reduce_(0, at, rows.amax(1), "amax")
        return cls(steps, low, high)

    def grouped(self, layer: str, count: int, trained_steps: int) -> list[tuple[float, float]]:
        """(low, high) of each of ``count`` equal parts of the time axis [0, trained_steps).

        Raises BenchError where calibration saw no step of a part.
        """
        part = time_group(self.steps, count, trained_steps)
        ranges = []
        for index in range(count):
            own = part == index
            if not own.any():
                raise BenchError(
                    f"layer {layer}: calibration saw no step of time group {index + 1} of {count}: "
                    "use fewer time groups or more calibration inputs"
                )
            own = own.to(self.low.device)
            ranges.append((float(self.low[own].min()), float(self.high[own].max())))
        return ranges


def time_group(times: torch.Tensor, count: int, trained_steps: int) -> torch.Tensor:
    """Which of ``count`` equal parts of [0, trained_steps) each time (n,) lies in."""
    return (times.long() * count).div(trained_steps, rounding_mode="floor").clamp(0, count - 1)


class Clock:
    """Tells time-grouped grids which group each input of the running forward belongs to."""

    def __init__(self, count: int = 1, trained_steps: int = TRAINED_STEPS) -> None:
        self.count, self.trained_steps = count, trained_steps
        self.groups: torch.Tensor | None = None

    def set(self, times: torch.Tensor) -> None:
        """Times (n,) of the inputs that come next."""
        self.groups = time_group(times, self.count, self.trained_steps)

    def pick(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """values (count,) as (n, 1, ...), one for each input of x (n, ...)."""
        if self.groups is None or len(self.groups) != len(x):
            seen = "none" if self.groups is None else len(self.groups)
            raise BenchError(
                f"a time-grouped grid needs the time step of each of {len(x)} inputs, it has {seen}"
            )
        own = values.to(x.device)[self.groups.to(x.device)]
        return own.view(-1, *[1] * (x.ndim - 1))
