"""The parameters that all tuners that train share."""

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ..contracts import Tuner, plugin
from ..core.errors import BenchError


@plugin
class Training(Tuner):
    """Steps, batches, learning rates over time, and when to stop.

    The student is trained on ``trajectories`` images of full precision and evaluated on
    ``held_out`` others after every ``every`` steps. Training ends after ``patience`` evaluations
    without a new best, ``steps`` steps or ``seconds``, and the best parameters stay. Steps are of
    AdamW with ``batch`` inputs. Rates rise linearly over ``warmup`` steps, then stay constant, or
    fall to 0 over ``steps`` as a half cosine; gradients are clipped to the norm ``clip``.

    ``weighting`` of the squared error by noise level (see ``tuning.weighting``) is ``uniform``;
    ``min-snr``, in which the last, nearly clean steps count less; or ``balanced``, in which the
    error of each level counts in units of the error before training.

    With ``span`` above 1 the loss is the mean square of the sum of the errors of ``span``
    consecutive recorded steps of one image, divided by ``span`` (our choice): an error that is the
    same in all steps counts up to ``span`` times, and errors of changing sign partly cancel, as in
    sampling. Of more than 25 steps, 25 drawn at random are recorded; with guidance each is one of
    the two evaluations of its step, with the class or without.

    With ``ema`` above 0 a running average of that decay is evaluated and kept. ``checkpointing``
    computes blocks twice to save memory; ``autocast`` uses bfloat16 on a GPU and has no effect
    elsewhere.
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
        """Return the factor of all rates in ``step``, counted from 0."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * step / self.steps))
