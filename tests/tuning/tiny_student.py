"""A tiny quantized DiT as a student."""

from tiny_quantizer import quantizer

from mpqbench.core.formats import WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.quant.apply import quantize_model
from mpqbench.tuning.student import QuantizedStudent

CHANNELS = WeightFormat(symmetric=False)
FAST = {
    "trajectories": 8, "held_out": 4, "steps": 60, "batch": 16, "every": 20, "warmup": 5,
}  # fmt: skip


def quantized_student(transformer, precision=(3, 3), fmt=CHANNELS, **options):
    """(student, quantized model) of ``transformer`` with adaLN at W8A8."""
    groups = layer_groups(transformer)
    quantized = quantize_model(
        transformer,
        groups,
        uniform_allocation(groups, Precision(*precision), Precision(8, 8)),
        quantizer(weight_format=fmt, **options),
    )
    return QuantizedStudent(quantized, groups), quantized
