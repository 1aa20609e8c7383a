"""The quantizer of a linear layer's input: static per tensor, or dynamic per token (group)."""

from dataclasses import dataclass
from typing import Self

import torch

from ..core.errors import BenchError, Diverged
from ..core.formats import ActivationFormat
from .affine import QParams, fake_quantize, fake_quantize_dynamic, qparams_from_range

TRAINED_STEPS = 1000  # of every DiT; a time-grouped format divides the time axis


def time_group(times: torch.Tensor, count: int) -> torch.Tensor:
    """Return which of ``count`` equal parts of the time axis each time (n,) lies in.

    Times are rounded to hundredths first: those of flow matching are no whole numbers, and some
    transformers are told a thousandth of them, in float32.
    """
    whole = times if not times.is_floating_point() else times.double().round(decimals=2)
    return (whole.long() * count).div(TRAINED_STEPS, rounding_mode="floor").clamp(0, count - 1)


class Clock:
    """Tells time-grouped quantizers the time group of each input of the running forward."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.groups: torch.Tensor | None = None

    def set(self, times: torch.Tensor) -> None:
        """Set the times (n,) of the inputs that come next."""
        self.groups = time_group(times, self.count)

    def pick(self, values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the one of values (count,) for each input of x (n, ...), as (n, 1, ...)."""
        if self.groups is None or len(self.groups) != len(x):
            seen = "none" if self.groups is None else len(self.groups)
            raise BenchError(
                f"a time-grouped format needs the time steps of {len(x)} inputs, it has {seen}"
            )
        picked = values.to(x.device)[self.groups.to(x.device)]
        return picked.view(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True)
class ActivationQuantizer:
    """Fake-quantizes inputs (..., tokens, in) in float32, with the same shape.

    ``static`` has the parameters of a static format for each time group; without them, every token
    (or every ``group`` channels of a token) has its own range in each forward. ``clock`` tells the
    time group where there are several.
    """

    bits: int
    fmt: ActivationFormat
    static: tuple[QParams, ...] = ()
    clock: Clock | None = None

    def __call__(self, x: torch.Tensor, in_place: bool = False) -> torch.Tensor:
        """Return ``x`` quantized, with ``in_place`` perhaps in its own memory."""
        if len(self.static) == 1:
            return fake_quantize(x, self.static[0])
        if self.static:
            return fake_quantize(x, self._qparams_at_time(x))
        if self.fmt.group is None:
            return fake_quantize_dynamic(x, self.bits, self.fmt.symmetric, in_place=in_place)
        blocks = x.unflatten(-1, (-1, self.fmt.group))
        values = fake_quantize_dynamic(blocks, self.bits, self.fmt.symmetric, in_place=in_place)
        return values.flatten(-2)

    def _qparams_at_time(self, x: torch.Tensor) -> QParams:
        assert self.clock is not None
        scales, zeros = zip(*((each.scale, each.zero) for each in self.static), strict=True)
        scale, zero = (self.clock.pick(torch.tensor(part), x) for part in (scales, zeros))
        return QParams(scale, zero, self.bits, self.fmt.symmetric)


@dataclass(frozen=True)
class StepRanges:
    """Calibrated range of an input at each time step: all (steps,)."""

    steps: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of_rows(cls, rows: torch.Tensor, times: torch.Tensor) -> Self:
        """Return the ranges of rows (n, in) seen at times (n,)."""
        steps, at = times.unique(return_inverse=True)
        at = at.to(rows.device)
        low = rows.new_full((len(steps),), float("inf"))
        high = rows.new_full((len(steps),), float("-inf"))
        low.scatter_reduce_(0, at, rows.amin(1), "amin")
        high.scatter_reduce_(0, at, rows.amax(1), "amax")
        return cls(steps, low, high)

    def quantizer(
        self, layer: str, bits: int, fmt: ActivationFormat, clock: Clock | None = None
    ) -> ActivationQuantizer:
        """Return a static quantizer, with a range for each time group of ``fmt``.

        Its parameters are plain floats, which stay exact where a model changes its type. Raises
        BenchError where calibration saw no step of a time group, and Diverged for a range that is
        not finite.
        """
        count, static = fmt.time_groups, []
        part = time_group(self.steps, count)
        for index in range(count):
            inside = (part == index).to(self.low.device)
            if not inside.any():
                raise BenchError(
                    f"layer {layer}: calibration saw no step of time group {index + 1} of {count}: "
                    "use fewer time groups or more calibration inputs"
                )
            ends = torch.stack([self.low[inside].min(), self.high[inside].max()]).float().cpu()
            if not ends.isfinite().all():
                raise Diverged(f"layer {layer}: its calibrated input range is {ends.tolist()}")
            qparams = qparams_from_range(ends[0], ends[1], bits, fmt.symmetric)
            static.append(QParams(float(qparams.scale), float(qparams.zero), bits, fmt.symmetric))
        return ActivationQuantizer(bits, fmt, tuple(static), clock)
