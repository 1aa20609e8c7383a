"""The training loop, which knows parameters and losses but no models."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from ..core.errors import BenchError, Diverged
from ..core.files import write_table
from ..core.progress import Reporter
from .checkpoint import Checkpoint
from .settings import Training

COLUMNS = ("step", "train_loss", "held_out_loss", "rate_factor", "seconds")
Rated = Mapping[str, tuple[nn.Parameter, float]]  # parameters by name, each with its rate
_Row = tuple[int, float, float, float, float]


@dataclass(frozen=True)
class Losses:
    """The loss of a training step, a function of its number, and the held-out loss."""

    at: Callable[[int], torch.Tensor]
    held_out: Callable[[], float]


@dataclass
class TrainingCurve:
    """The course of a training: a row for every evaluation, the first from before the training.

    ``train_loss`` is the mean over the steps since the row before; ``seconds`` are of training and
    evaluation, with those of earlier runs that were stopped. ``stopped`` is what ended the
    training: ``steps``, ``seconds`` or ``patience``, or nothing where nothing was trained.
    """

    rows: list[_Row] = field(default_factory=list)
    stopped: str = ""

    @property
    def gain(self) -> float:
        """The held-out loss before training divided by the least; 1 where both are 0 or missing."""
        losses = [row[2] for row in self.rows] or [0.0]
        if min(losses) == 0:
            return 1.0 if losses[0] == 0 else math.inf
        return losses[0] / min(losses)

    def write(self, path: Path) -> None:
        """Write a parquet file with ``COLUMNS`` in one step."""
        import pandas as pd

        write_table(path, pd.DataFrame(self.rows, columns=list(COLUMNS)))


@dataclass
class _State:
    """The part of a checkpoint that is no tensor."""

    step: int = 0
    seconds: float = 0.0
    since: int = 0  # step of the last row
    total: float = 0.0  # sum of the losses since then
    best: float = math.inf
    worse: int = 0
    stopped: str = ""
    rows: list[_Row] = field(default_factory=list)


def train(
    training: Training, trained: Rated, losses: Losses, checkpoint: Checkpoint, reporter: Reporter
) -> TrainingCurve:
    """Train the parameters in place up to a limit of ``training``, and keep the best evaluated.

    ``losses.at(step)`` must be a function of the step and the parameters alone. Then a run that is
    stopped and resumed equals an unbroken run bit by bit, except for its seconds (on a GPU as far
    as its kernels are deterministic). Raises Diverged where a loss is not finite.
    """
    run = _Run(training, trained, losses, checkpoint)
    resumed = run.resume()
    if checkpoint.required and not run.state.stopped:
        raise BenchError("the training is not in the cache to its end, from the same numbers")
    if resumed:
        reporter.say(f"  tuning resumes at step {run.state.step}")
    elif checkpoint.exists:
        reporter.say("  tuning begins anew: what is on disk was trained from other numbers")
    with reporter.stage("tuning", training.steps) as advance:
        advance(run.state.step)
        if not run.state.rows:
            run.evaluate()
        while not run.state.stopped:
            run.one_step()
            advance(1)
    run.load(run.best)
    return TrainingCurve(run.state.rows, run.state.stopped)


class _Run:
    """One training run. ``average`` has the running average of the parameters, if any."""

    def __init__(
        self, training: Training, trained: Rated, losses: Losses, checkpoint: Checkpoint
    ) -> None:
        self.training, self.losses = training, losses
        self.checkpoint, self.state = checkpoint, _State()
        self.parameters = {name: parameter for name, (parameter, _) in trained.items()}
        self.rates = [rate for _, rate in trained.values()]
        self.optimizer = torch.optim.AdamW(
            [{"params": [parameter], "lr": rate} for parameter, rate in trained.values()],
            weight_decay=training.weight_decay,
            fused=True,
        )
        self.average = self.values() if training.ema else {}
        self.best: dict[str, torch.Tensor] = {}
        self._began = time.monotonic()

    def one_step(self) -> None:
        """Take a step, evaluate where due, and decide whether to go on."""
        state, training = self.state, self.training
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * training.rate_factor(state.step)
        loss = self.losses.at(state.step)
        state.total += self._finite(float(loss.detach()), "training")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), training.clip)
        self.optimizer.step()
        # The decay of the average grows to ``ema``, to forget the first parameters.
        decay = min(training.ema, (1 + state.step) / (10 + state.step))
        for name, value in self.average.items():
            value.lerp_(self.parameters[name].detach(), 1 - decay)
        state.step += 1
        last = state.step == training.steps
        late = training.seconds is not None and self._seconds() >= training.seconds
        if late or last or state.step % training.every == 0:
            self.evaluate()
            ends = {"steps": last, "seconds": late, "patience": state.worse >= training.patience}
            state.stopped = next((reason for reason, true in ends.items() if true), "")
        if state.stopped or self.checkpoint.due:
            state.seconds = self._seconds()
            content = {"state": asdict(state), "parameters": self.values(), "best": self.best}
            content |= {"average": self.average, "optimizer": self.optimizer.state_dict()}
            self.checkpoint.save(content)

    def evaluate(self) -> None:
        """Add a row to the curve, and keep the parameters where they are the best so far."""
        state, trained = self.state, self.values() if self.average else {}
        if self.average:
            self.load(self.average)
        loss = self._finite(self.losses.held_out(), "held-out")
        if loss < state.best:
            state.best, state.worse, self.best = loss, 0, self.values()
        else:
            state.worse += 1
        if self.average:
            self.load(trained)
        steps = state.step - state.since
        mean = state.total / steps if steps else math.nan
        factor = self.training.rate_factor(state.step)
        state.rows.append((state.step, mean, loss, factor, self._seconds()))
        state.since, state.total = state.step, 0.0

    def values(self) -> dict[str, torch.Tensor]:
        """Return a copy of the parameters."""
        return {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """Set the parameters to ``values``."""
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def resume(self) -> bool:
        """Continue from the checkpoint, and return whether there is one."""
        content = self.checkpoint.load()
        if content is None:
            return False
        self.state = _State(**content["state"])
        self.load(content["parameters"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.average, self.best = (
            {name: value.to(self.parameters[name].device) for name, value in content[part].items()}
            for part in ("average", "best")
        )
        self._began -= self.state.seconds
        return True

    def _finite(self, loss: float, what: str) -> float:
        if not math.isfinite(loss):
            raise Diverged(f"the {what} loss is not finite after {self.state.step} steps of tuning")
        return loss

    def _seconds(self) -> float:
        return time.monotonic() - self._began
