"""No tuning: post-training quantization as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpqbench.contracts import Tuner, plugin

if TYPE_CHECKING:
    from mpqbench.tuning.loop import TrainingCurve
    from mpqbench.tuning.student import DistillationData, QuantizedStudent


@plugin
class NoTuning(Tuner):
    """Leaves the model as rounding made it."""

    trajectories = 0
    held_out = 0

    def tune(self, student: QuantizedStudent, lessons: DistillationData) -> TrainingCurve:
        """Nothing, and an empty curve."""
        from mpqbench.tuning.loop import (
            TrainingCurve,  # here: the loop is no part of what this does
        )

        return TrainingCurve()
