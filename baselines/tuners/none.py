"""No tuning: post-training quantization as it is."""

from mpqbench.contracts import Tuner, plugin
from mpqbench.tuning.loop import TrainingCurve
from mpqbench.tuning.student import DistillationData, QuantizedStudent


@plugin
class NoTuning(Tuner):
    """Leaves the model as rounding made it."""

    trajectories = 0
    held_out = 0

    def tune(self, student: QuantizedStudent, data: DistillationData) -> TrainingCurve:
        """Return an empty curve."""
        return TrainingCurve()
