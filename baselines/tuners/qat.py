"""Quantization-aware training: every quantized weight learns, rounded in every forward."""

from pydantic import PositiveFloat

from mpqbench.contracts import plugin
from mpqbench.quant.trainable import Free, RoundedWeight
from mpqbench.tuning.distil import TrainedParts, retrain
from mpqbench.tuning.loop import TrainingCurve
from mpqbench.tuning.settings import Training
from mpqbench.tuning.student import DistillationData, QuantizedStudent


@plugin
class QAT(Training):
    """LSQ (arXiv 1902.08153) with full precision's outputs as targets, so it needs no data.

    Trained are the weights and scales of all quantized layers, their biases, and branches where the
    recipe has them; zero points, embeddings and the final layer stay. Weights are kept in float32
    and begin at what rounding made of them, so the first step is the post-training model's; they
    are rounded straight-through in every forward and for good at the end: no byte is added.
    ``rate`` is that of weights, biases and branches, ``scale_rate`` that of log s.
    """

    rate: PositiveFloat = 3e-4
    scale_rate: PositiveFloat = 1e-3

    def tune(self, student: QuantizedStudent, data: DistillationData) -> TrainingCurve:
        """Train in place. Raises Diverged where a loss is not finite."""
        parts = TrainedParts(self.rate, self.scale_rate)
        for path, layer in student.layers.items():
            sources = parts.sources[path] = {}
            if path in student.rounded:
                sources["weight"] = RoundedWeight(student.rounded[path])
            if layer.bias is not None:
                sources["bias"] = Free(layer.bias)
            if layer.branch is not None:
                parts.branches[path] = layer.branch
        return retrain(self, student, data, parts)
