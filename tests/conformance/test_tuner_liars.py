"""Each promise of a tuner, broken by one that breaks it and kept by an honest one."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
import torch
from lying_plugins import broken

from mpqbench.baselines.tuners.peft import PEFT
from mpqbench.conformance import checks
from mpqbench.contracts import BranchSize
from mpqbench.core.errors import Diverged
from mpqbench.quant.trainable import low_rank_adapter
from mpqbench.tuning.checkpoint import Checkpoint
from mpqbench.tuning.loop import TrainingCurve

PATH = "transformer_blocks.1.attn1.to_k"
W3A3 = "a tiny DiT at W3A3"


@dataclass(frozen=True)
class Honest(PEFT):
    """Scales, zero points and biases, for a moment; ``slow`` has it checked on one student."""

    adapter: str = "none"
    steps: int = 4
    every: int = 2
    rate: float = 1e-2
    scale_rate: float = 1e-2
    slow = True


class Curveless(Honest):
    def tune(self, student, lessons):
        super().tune(student, lessons)


class Secretive(Honest):
    """Does not tell where it began."""

    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        return TrainingCurve(curve.rows[1:], curve.stopped)


class Disorderly(Honest):
    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        return TrainingCurve([curve.rows[0], *curve.rows[:0:-1]], curve.stopped)


class Endless(Honest):
    def tune(self, student, lessons):
        return TrainingCurve(super().tune(student, lessons).rows, "")


class Worse(Honest):
    """Ends with other biases than it found."""

    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        student.layers[PATH].bias.add_(1.0)
        student.layers["transformer_blocks.1.ff.net.2"].bias.add_(1.0)
        return curve


class Boastful(Honest):
    """Tells of a loss that it never had."""

    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        return TrainingCurve([*curve.rows, (5, 0.0, 1e-6, 0.0, 1.0)], curve.stopped)


class OffGrid(Honest):
    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        student.layers[PATH].weight[3, 5] += 1e-3
        return curve


class Unsettled(Honest):
    """Trains scales and keeps the old ones for the record."""

    def tune(self, student, lessons):
        before = dict(student.rounded)
        curve = super().tune(student, lessons)
        student.rounded.update(before)
        return curve


class TooManyLevels(Honest):
    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        own = student.rounded[PATH]
        finer = replace(own, integers=own.integers * 2, scale=own.scale / 2, zero=own.zero * 2)
        student.set_quantized_weight(PATH, finer)
        student.layers[PATH].weight.copy_(finer.dequantize())
        return curve


class MoreBits(Honest):
    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        student.rounded[PATH] = replace(student.rounded[PATH], bits=4)
        return curve


class Smuggler(Honest):
    """Puts a branch where nobody counts it."""

    def tune(self, student, lessons):
        student.layers[PATH].branch = low_rank_adapter(student.layers[PATH], 1, lessons.seed)
        return super().tune(student, lessons)


class Understated(Honest):
    """Says of its branch that it holds less than it does."""

    def tune(self, student, lessons):
        branch = low_rank_adapter(student.layers[PATH], 2, lessons.seed)
        branch.size = BranchSize(branch.size.numbers - 1, branch.size.macs_per_token)
        student.add_branch(PATH, branch)
        return super().tune(student, lessons)


class FreeZeros(Honest):
    """Trains zero points and counts them as whole numbers."""

    def tune(self, student, lessons):
        counted = dict(student._quantized.storage)
        curve = super().tune(student, lessons)
        student._quantized.storage.update(counted)
        return curve


class GlobalDice(Honest):
    def tune(self, student, lessons):
        return super().tune(student, replace(lessons, seed=int(torch.randint(100, ()))))


class OwnDice(Honest):
    def tune(self, student, lessons):
        seed = random.SystemRandom().randrange(10**9)
        return super().tune(student, replace(lessons, seed=seed))


class Restarting(Honest):
    """Never looks at its checkpoint."""

    def tune(self, student, lessons):
        return super().tune(student, replace(lessons, checkpoint=Checkpoint()))


class Forgetful(Honest):
    """Goes on, but learns in another order."""

    def tune(self, student, lessons):
        if lessons.checkpoint.exists:
            lessons = replace(lessons, seed=lessons.seed + 1)
        return super().tune(student, lessons)


class Scribbler(Honest):
    def tune(self, student, lessons):
        lessons.train.outputs.mul_(0.9)
        return super().tune(student, lessons)


class Unshaken(Honest):
    """Says nothing of losses that are not finite."""

    def tune(self, student, lessons):
        try:
            return super().tune(student, lessons)
        except Diverged:
            return TrainingCurve()


class Alarmed(Honest):
    """Another error than the one that has a status of its own."""

    def tune(self, student, lessons):
        try:
            return super().tune(student, lessons)
        except Diverged as error:
            raise ValueError("not finite") from error


class Painter(Honest):
    """Trains the final layer, which is not its own."""

    def tune(self, student, lessons):
        student.transformer.proj_out_2.bias.data.add_(0.01)
        return super().tune(student, lessons)


class Watcher(Honest):
    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        student.layers[PATH].register_forward_hook(lambda *_: None)
        return curve


class Learning(Honest):
    """Leaves a bias that can still be trained."""

    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        student.layers[PATH].bias.requires_grad_(True)
        return curve


class Awake(Honest):
    """Leaves the model in training mode, in which it drops classes."""

    def tune(self, student, lessons):
        curve = super().tune(student, lessons)
        student.transformer.train()
        return curve


@dataclass(frozen=True)
class Unjudged(Honest):
    held_out: int = 0

    def __post_init__(self):
        pass


@pytest.mark.parametrize(
    ("liar", "check", "sentence"),
    [
        (Curveless, "curve", f"{W3A3}: tune gave a NoneType, no TrainingCurve"),
        (Secretive, "curve", f"{W3A3}: the curve begins with (2, "),
        (Disorderly, "curve", "steps of the curve: [0, 4, 2]"),
        (Endless, "curve", "does not say what stopped the training"),
        (Worse, "error", "the held-out error rises from"),
        (Boastful, "best", "the least of the curve 1e-06"),
        (OffGrid, "grids", f"layer {PATH}: the weight is off its grid by up to 0.001"),
        (Unsettled, "grids", "the weight is off its grid"),
        (TooManyLevels, "grids", f"layer {PATH}: integers run from 0 to"),
        (MoreBits, "grids", f"layer {PATH}: bits and shapes are (4, "),
        (Smuggler, "cost", "transforms, branches and real zero points"),
        (Understated, "cost", f"the branch of {PATH} holds 64 numbers and says 63"),
        (FreeZeros, "cost", "transforms, branches and real zero points"),
        (GlobalDice, "deterministic", "generator of torch; it must draw from lessons.seed"),
        (OwnDice, "deterministic", "two tunings with one lessons.seed give other curves"),
        (Restarting, "resumes", f"{W3A3}: stopped in step 3 it begins anew"),
        (Forgetful, "resumes", "stopped in step 3 and resumed, give other curves"),
        (Scribbler, "arguments", "it writes into lessons.train.outputs"),
        (Unshaken, "diverged", "infinite train outputs: tune ends as if nothing were wrong"),
        (Alarmed, "diverged", "tune raises ValueError: not finite; it must raise Diverged"),
        (Painter, "model", "changes proj_out_2.bias, which is the full-precision model's own"),
        (Watcher, "model", f"it leaves a hook on {PATH}"),
        (Learning, "model", f"it leaves requires_grad set in {PATH}"),
        (Awake, "model", "it leaves the network in training mode"),
        (Unjudged, "images", "it learns from 200 images and is judged on none"),
    ],
)
def test_a_broken_promise_is_named(liar, check, sentence):
    assert sentence in broken("tuner", liar(), only=[check])[check]


def test_an_honest_tuner_passes():
    assert broken("tuner", Honest()) == {}


def test_long_trainings_are_checked_on_few_steps():
    (check,) = (c for c in checks("tuner", PEFT(seconds=9.0, steps=8)) if c.name == "curve")
    short = check.run.__self__.plugin
    assert (short.steps, short.every, short.batch, short.seconds) == (8, 4, 8, None)
