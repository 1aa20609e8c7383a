"""The training loop on a small regression: limits, checkpoints, what is kept."""

import itertools
import math

import pandas as pd
import pytest
import torch
from torch import nn

from mpqbench.baselines.tuners.qat import QAT
from mpqbench.core.cache import Cache
from mpqbench.core.errors import Diverged
from mpqbench.core.progress import Reporter
from mpqbench.tuning.checkpoint import Checkpoint
from mpqbench.tuning.loop import COLUMNS, Losses, train

TARGET = torch.tensor([1.0, -2.0, 0.5])


class Regression:
    """Estimates TARGET from one noisy sample a step; interrupted in step ``stop_at``."""

    def __init__(self, stop_at=None):
        self.guess = nn.Parameter(torch.zeros(3))
        self.trained = {"guess": (self.guess, 0.05)}
        self.stop_at = stop_at

    def loss_at(self, step):
        if step == self.stop_at:
            raise KeyboardInterrupt
        noise = torch.randn(3, generator=torch.Generator().manual_seed(step))
        return (self.guess - TARGET - noise).square().mean()

    def held_out(self):
        return float((self.guess.detach() - TARGET).square().mean())

    def run(self, training, checkpoint=None):
        losses = Losses(self.loss_at, self.held_out)
        return train(training, self.trained, losses, checkpoint or Checkpoint(), Reporter())


def settings(**changes):
    return QAT(**({"steps": 60, "every": 10, "warmup": 3, "patience": 100} | changes))


def without_seconds(curve):
    """Rows as text, so that the NaN of the first one equals itself."""
    return [repr(row[:-1]) for row in curve.rows]


def test_it_learns_and_returns_its_curve(tmp_path):
    problem = Regression()
    curve = problem.run(settings(clip=100.0))
    assert curve.stopped == "steps"
    assert [row[0] for row in curve.rows] == list(range(0, 61, 10))
    assert curve.rows[0][2] == pytest.approx(1.75)  # (1 + 4 + 0.25) / 3, from before training
    assert math.isnan(curve.rows[0][1])
    assert curve.gain > 3
    curve.write(tmp_path / "curve.parquet")
    table = pd.read_parquet(tmp_path / "curve.parquet")
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 7
    assert table.seconds.is_monotonic_increasing


def test_the_training_loss_is_the_mean_of_the_steps_between_rows():
    problem, seen = Regression(), []
    plain = problem.loss_at
    problem.loss_at = lambda step: seen.append(plain(step)) or seen[-1]
    curve = problem.run(settings())
    assert curve.rows[2][1] == pytest.approx(sum(loss.item() for loss in seen[10:20]) / 10)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("every", [0.0, math.inf], ids=["saved each step", "killed unsaved"])
def test_stopped_and_resumed_it_is_the_same_training(tmp_path, every, ema):
    whole = Regression()
    expected = whole.run(settings(ema=ema))
    for stop_at in (7, 35, None):
        part = Regression(stop_at)
        checkpoint = Checkpoint(Cache(tmp_path), "training", every)
        try:
            curve = part.run(settings(ema=ema), checkpoint)
        except KeyboardInterrupt:
            continue
    assert without_seconds(curve) == without_seconds(expected)
    assert torch.equal(part.guess, whole.guess)


def test_a_finished_training_is_not_done_again(tmp_path):
    first = Regression()
    curve = first.run(settings(), Checkpoint(Cache(tmp_path), "training"))
    again = Regression(stop_at=0)
    same = again.run(settings(), Checkpoint(Cache(tmp_path), "training"))
    assert [repr(row) for row in same.rows] == [repr(row) for row in curve.rows]
    assert torch.equal(again.guess, first.guess)


def test_a_checkpoint_of_something_else_is_not_resumed(tmp_path):
    Regression().run(settings(steps=20), Checkpoint(Cache(tmp_path), "one"))
    curve = Regression().run(settings(), Checkpoint(Cache(tmp_path), "other"))
    assert curve.rows[-1][0] == 60
    one = Checkpoint(Cache(tmp_path), "other")
    assert one.load() is not None
    assert one.of("part").load() is None


def test_a_damaged_checkpoint_counts_as_none(tmp_path):
    expected = Regression().run(settings())
    (tmp_path / "training.pt").write_bytes(b"half of a fi")
    curve = Regression().run(settings(), Checkpoint(Cache(tmp_path), "training"))
    assert without_seconds(curve) == without_seconds(expected)


def test_it_ends_early_and_keeps_the_best():
    problem = Regression()
    losses = itertools.chain([3.0, 1.0, 2.0, 4.0], itertools.repeat(9.0))
    values = []

    def held_out():
        values.append(problem.guess.detach().clone())
        return next(losses)

    problem.held_out = held_out
    curve = problem.run(settings(steps=1000, patience=2))
    assert (curve.stopped, curve.rows[-1][0]) == ("patience", 30)
    assert torch.equal(problem.guess, values[1])  # of step 10, where the loss was 1
    assert curve.gain == 3.0


def test_the_time_limit_ends_it_with_a_last_row(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("mpqbench.tuning.loop.time.monotonic", lambda: float(next(clock)))
    curve = Regression().run(settings(steps=10_000, seconds=30.0, every=1000))
    assert curve.stopped == "seconds"
    assert 0 < curve.rows[-1][0] < 30
    assert curve.rows[-1][-1] >= 30


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_diverges(bad):
    problem = Regression()
    problem.loss_at = lambda step: problem.guess.sum() * (bad if step == 5 else 1)
    with torch.no_grad():
        problem.guess.fill_(1.0)
    with pytest.raises(Diverged, match="training loss is not finite after 5 steps"):
        problem.run(settings())
    problem = Regression()
    problem.held_out = lambda: bad
    with pytest.raises(Diverged, match="held-out loss is not finite after 0 steps"):
        problem.run(settings())


def test_the_average_is_what_is_evaluated_and_kept():
    plain, averaged = Regression(), Regression()
    rough = plain.run(settings(schedule="constant", steps=400, every=400))
    smooth = averaged.run(settings(schedule="constant", steps=400, every=400, ema=0.95))
    assert smooth.rows[-1][2] < rough.rows[-1][2]
    assert averaged.held_out() == smooth.rows[-1][2]


def test_rates_warm_up_and_fall():
    cosine, constant = settings(steps=100, warmup=4), settings(schedule="constant", warmup=4)
    assert [constant.rate_factor(step) for step in (0, 1, 4, 59)] == [0.2, 0.4, 1.0, 1.0]
    assert cosine.rate_factor(50) == pytest.approx(0.5)
    assert cosine.rate_factor(100) == pytest.approx(0)
