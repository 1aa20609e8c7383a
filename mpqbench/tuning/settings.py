"""How training goes, whatever is trained: the parameters that all tuners share."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ..contracts import Tuner, plugin
from ..core.errors import BenchError


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

    trajectories: PositiveInt = 200
    held_out: PositiveInt = 50
    steps: PositiveInt = 2000
    seconds: PositiveFloat | None = None
    batch: PositiveInt = 32
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: NonNegativeInt = 50
    clip: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weighting: Literal["uniform", "min-snr", "balanced"] = "uniform"
    span: PositiveInt = 1
    every: PositiveInt = 100
    patience: PositiveInt = 5
    checkpointing: bool = False
    autocast: bool = True

    def __post_init__(self) -> None:
        if self.batch % self.span:
            raise BenchError(f"batch must be a multiple of span {self.span}, not {self.batch}")

    def rate_factor(self, step: int) -> float:
        """What the rates are multiplied with in ``step``, from 0."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))
