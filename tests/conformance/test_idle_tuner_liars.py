"""Tuners that ask for no trajectories must change nothing, and those that do are named."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from lying_plugins import broken

from mpqbench.conformance import checks
from mpqbench.quant.trainable import low_rank_adapter
from mpqbench.tuning.loop import TrainingCurve

PATH = "transformer_blocks.1.attn1.to_k"


@dataclass(frozen=True)
class Idle:
    """Asks for nothing and does nothing."""

    trajectories = 0
    held_out = 0

    def tune(self, student, lessons):
        self.change(student)
        return TrainingCurve()

    def change(self, student):
        pass


class SlyBias(Idle):
    def change(self, student):
        student.layers[PATH].bias.data.add_(0.01)


class SlyBranch(Idle):
    def change(self, student):
        student.add_branch(PATH, low_rank_adapter(student.layers[PATH], 1, 0))


class SlyGrid(Idle):
    def change(self, student):
        own = student.rounded[PATH]
        student.set_quantized_weight(PATH, replace(own, zero=own.zero + 0.5))


class Talkative(Idle):
    def tune(self, student, lessons):
        return TrainingCurve([(0, 0.0, 1.0, 1.0, 0.0)], "steps")


@pytest.mark.parametrize(
    ("liar", "sentence"),
    [
        (SlyBias, f"asks for no trajectories and changes {PATH}.bias"),
        (SlyBranch, f"asks for no trajectories and changes {PATH}.branch"),
        (SlyGrid, "asks for no trajectories and changes what is counted"),
        (Talkative, "the curve of no training has 1 rows"),
    ],
)
def test_without_trajectories_nothing_may_change(liar, sentence):
    assert sentence in broken("tuner", liar())["untouched"]


def test_one_that_asks_for_nothing_has_two_promises():
    assert broken("tuner", Idle()) == {}
    assert [str(check) for check in checks("tuner", Idle())] == ["images", "untouched"]
