"""A tiny quantized DiT with its integers, and what full precision makes of random inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from tiny_quantizer import quantizer

from mpqbench.contracts import Rounding
from mpqbench.core.formats import WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.apply import quantize_model
from mpqbench.tuning.student import QuantizedStudent

CHANNELS = WeightFormat(symmetric=False)
FAST = {
    "trajectories": 8, "held_out": 4, "steps": 60, "batch": 16, "every": 20, "warmup": 5,
}  # fmt: skip


@dataclass
class Recording(Rounding):
    """Nearest rounding that remembers its integers by layer."""

    weights: dict = field(default_factory=dict)

    def round(self, weight, layer, fmt, bits):
        rounded = quantize_weight(weight, fmt, bits, layer.name)
        self.weights.setdefault(layer.name, []).append(rounded)
        return rounded

    def of(self, quantized):
        """The integers that each layer really has: a branch has rounding try several times."""
        return {
            path: next(
                r for r in tried if torch.equal(r.dequantize(), quantized.layers[path].weight)
            )
            for path, tried in self.weights.items()
        }


def quantized_student(transformer, precision=(3, 3), fmt=CHANNELS, **options):
    """(student, quantized model) of ``transformer`` with adaLN at W8A8."""
    groups, rounding = layer_groups(transformer), Recording()
    quantized = quantize_model(
        transformer,
        groups,
        uniform_allocation(groups, Precision(*precision), Precision(8, 8)),
        quantizer(rounding=rounding, weight_format=fmt, **options),
    )
    return QuantizedStudent(quantized, groups, rounding.of(quantized)), quantized
