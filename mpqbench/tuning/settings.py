"""How training goes, whatever is trained: the parameters that all tuners share."""

from __future__ import annotations

import math

from ..contracts import Tuner, plugin
from ..core.errors import BenchError, check_whole, unknown

SCHEDULES = ("cosine", "constant")
WEIGHTINGS = ("uniform", "min-snr", "balanced")
_AT_LEAST_ONE = ("trajectories", "held_out", "steps", "batch", "every", "patience", "span")


@plugin
class Training(Tuner):
    """Steps, batches, rates over time, and when to stop.

    It learns from ``trajectories`` images of full precision and is judged on ``held_out`` others,
    every ``every`` steps: after ``patience`` of these without a new best it ends, as it does after
    ``steps`` steps or ``seconds`` of training, and the best parameters stay. Steps are of AdamW,
    with ``batch`` inputs. The rates rise linearly over ``warmup`` steps, then stay, or fall to 0
    over ``steps`` as a half cosine; gradients are clipped to the norm ``clip``.

    ``weighting`` of the squared error by noise level (see ``tuning.weighting``): ``uniform``;
    ``min-snr``, which counts the last, nearly clean steps less; or ``balanced``, where each level's
    error counts in units of what it is before training.

    ``span`` consecutive steps of one image answer for their errors together: the loss is the mean
    square of their sum, divided by ``span`` (our choice). What a model always gets wrong in the
    same way adds up along a trajectory and counts up to ``span`` times; what it gets wrong now this
    way and now that partly cancels, as it does in sampling. With 1, every input stands for itself.
    Consecutive are those that were recorded: of more than 25 steps, 25 drawn at random; and with
    guidance each is one of the two evaluations of its step, with or without its class.
    With ``ema`` > 0 the judged and kept parameters are a running average of that decay.
    ``checkpointing`` computes blocks twice to save memory; ``autocast`` uses bfloat16 on a GPU and
    has no effect elsewhere.
    """

    trajectories: int = 200
    held_out: int = 50
    steps: int = 2000
    seconds: float | None = None
    batch: int = 32
    schedule: str = "cosine"
    warmup: int = 50
    clip: float = 1.0
    weight_decay: float = 0.0
    ema: float = 0.0
    weighting: str = "uniform"
    span: int = 1
    every: int = 100
    patience: int = 5
    checkpointing: bool = False
    autocast: bool = True

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            check_whole(name, getattr(self, name))
        check_whole("warmup", self.warmup, least=0)
        check_positive(self, "clip", *(["seconds"] if self.seconds is not None else []))
        if self.weight_decay < 0:
            raise BenchError(f"weight_decay must not be negative, but is {self.weight_decay}")
        if not 0 <= self.ema < 1:
            raise BenchError(f"ema must be at least 0 and below 1, not {self.ema}")
        if self.batch % self.span:
            raise BenchError(f"batch must be a multiple of span {self.span}, not {self.batch}")
        for name, valid in (("schedule", SCHEDULES), ("weighting", WEIGHTINGS)):
            if getattr(self, name) not in valid:
                raise unknown(name, str(getattr(self, name)), valid)

    def rate_factor(self, step: int) -> float:
        """What the rates are multiplied with in ``step``, from 0."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def check_positive(settings: object, *names: str) -> None:
    """Raises BenchError for the first of the fields that is not above 0."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise BenchError(f"{name} must be positive, not {getattr(settings, name)}")
