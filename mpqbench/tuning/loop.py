"""The training loop: it knows parameters and losses, and nothing of models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.errors import Diverged
from ..core.files import write_table
from ..core.progress import Reporter
from .checkpoint import Checkpoint
from .settings import Training

COLUMNS = ("step", "train_loss", "held_out_loss", "rate_factor", "seconds")
Rated = Mapping[str, tuple[nn.Parameter, float]]  # parameters by name, each with its rate


@dataclass
class TrainingCurve:
    """The course of a training, a row for every judgement; the first is from before it.

    ``train_loss`` is the mean over the steps since the row before, ``seconds`` are of training and
    judging, those of earlier runs that were stopped included. ``stopped`` says what ended it:
    ``steps``, ``seconds`` or ``patience``; empty means that nothing was trained.
    """

    rows: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    stopped: str = ""

    @property
    def gain(self) -> float:
        """Held-out loss before training divided by the least one; 1 where both are 0 or missing."""
        losses = [row[2] for row in self.rows] or [0.0]
        if min(losses) == 0:
            return 1.0 if losses[0] == 0 else math.inf
        return losses[0] / min(losses)

    def write(self, path: Path) -> None:
        """A parquet file with ``COLUMNS``, in one step."""
        import pandas as pd

        write_table(path, pd.DataFrame(self.rows, columns=list(COLUMNS)))


@dataclass
class _State:
    """What a checkpoint holds beside tensors."""

    step: int = 0
    seconds: float = 0.0
    since: int = 0  # the step of the last row
    total: float = 0.0  # of the losses since
    best: float = math.inf
    worse: int = 0
    stopped: str = ""
    rows: list[tuple[int, float, float, float, float]] = field(default_factory=list)


def train(
    training: Training,
    trained: Rated,
    loss_at: Callable[[int], torch.Tensor],
    held_out_loss: Callable[[], float],
    checkpoint: Checkpoint,
    reporter: Reporter,
) -> TrainingCurve:
    """Train the parameters in place until a limit of ``training``; they end as the best judged.

    ``loss_at(step)`` must be a function of the step and the parameters alone: then a run that was
    stopped and resumed is, but for its seconds, bit by bit the run that was not (on a GPU as far as
    its kernels are deterministic). Raises Diverged where a loss is not finite.
    """
    run = _Run(training, trained, loss_at, held_out_loss, checkpoint)
    if run.resume():
        reporter.say(f"  tuning resumes at step {run.state.step}")
    elif checkpoint.exists:
        reporter.say("  tuning begins anew: what is on disk was trained from other numbers")
    with reporter.stage("tuning", training.steps) as advance:
        advance(run.state.step)
        if not run.state.rows:
            run.judge()
        while not run.state.stopped:
            run.one_step()
            advance(1)
    run.load(run.best)
    return TrainingCurve(run.state.rows, run.state.stopped)


class _Run:
    """One training run; everything that a resumed one needs is in ``content``."""

    def __init__(
        self,
        training: Training,
        trained: Rated,
        loss_at: Callable[[int], torch.Tensor],
        held_out_loss: Callable[[], float],
        checkpoint: Checkpoint,
    ) -> None:
        self.training, self.loss_at, self.held_out_loss = training, loss_at, held_out_loss
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
        """A step, a judgement where one is due, and the decision whether to go on."""
        state, training = self.state, self.training
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * training.rate_factor(state.step)
        loss = self.loss_at(state.step)
        state.total += self._finite(float(loss.detach()), "training")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), training.clip)
        self.optimizer.step()
        self._move_average()
        state.step += 1
        late = training.seconds is not None and self._seconds() >= training.seconds
        if late or state.step % training.every == 0 or state.step == training.steps:
            self.judge()
            self._decide(late)
        if state.stopped or self.checkpoint.due:
            state.seconds = self._seconds()
            self.checkpoint.save(self.content())

    def judge(self) -> None:
        """A row of the curve; the parameters are kept where they are the best so far."""
        state = self.state
        with self._averaged():
            loss = self._finite(self.held_out_loss(), "held-out")
            if loss < state.best:
                state.best, state.worse, self.best = loss, 0, self.values()
            else:
                state.worse += 1
        steps = state.step - state.since
        mean = state.total / steps if steps else math.nan
        factor = self.training.rate_factor(state.step)
        state.rows.append((state.step, mean, loss, factor, self._seconds()))
        state.since, state.total = state.step, 0.0

    def values(self) -> dict[str, torch.Tensor]:
        """A copy of the parameters."""
        return {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """The inverse of ``values``."""
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def content(self) -> dict[str, Any]:
        """Everything, as a checkpoint keeps it."""
        return {
            "state": asdict(self.state),
            "parameters": self.values(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "best": self.best,
        }

    def resume(self) -> bool:
        """From the checkpoint, where there is one."""
        content = self.checkpoint.load()
        if content is None:
            return False
        self.state = _State(**content["state"])
        self.load(content["parameters"])
        self.optimizer.load_state_dict(content["optimizer"])
        for part in ("average", "best"):
            values = {n: v.to(self.parameters[n].device) for n, v in content[part].items()}
            setattr(self, part, values)
        self._began -= self.state.seconds
        return True

    def _decide(self, late: bool) -> None:
        state, training = self.state, self.training
        if state.step >= training.steps:
            state.stopped = "steps"
        elif late:
            state.stopped = "seconds"
        elif state.worse >= training.patience:
            state.stopped = "patience"

    def _finite(self, loss: float, what: str) -> float:
        if not math.isfinite(loss):
            raise Diverged(f"the {what} loss is not finite after {self.state.step} steps of tuning")
        return loss

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _move_average(self) -> None:
        """With a decay that grows to ``ema``, so that the first parameters are forgotten."""
        if not self.training.ema:
            return
        decay = min(self.training.ema, (1 + self.state.step) / (10 + self.state.step))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged parameters in the place of the trained ones."""
        if not self.training.ema:
            yield
            return
        own = self.values()
        self.load(self.average)
        yield
        self.load(own)
