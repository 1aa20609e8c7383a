"""A tiny quantized DiT with its integers, and what full precision makes of random inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from mpqbench.conformance.models import UNTOUCHED, tiny_transformer
from mpqbench.contracts import LayerData
from mpqbench.formats import ActivationFormat, WeightFormat
from mpqbench.models.groups import layer_groups, uniform_allocation
from mpqbench.precision import Precision
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.apply import quantize_model
from mpqbench.tuning.student import Student
from mpqbench.tuning.trajectories import Trajectories

CHANNELS = WeightFormat(symmetric=False)
FAST = {
    "trajectories": 8, "held_out": 4, "steps": 60, "batch": 16, "every": 20, "warmup": 5,
}  # fmt: skip


@dataclass
class Recorded:
    """Nearest rounding that remembers its integers by layer."""

    weights: dict = field(default_factory=dict)
    needs_inputs = False

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
    groups, rounding = layer_groups(transformer), Recorded()
    quantized = quantize_model(
        transformer,
        groups,
        uniform_allocation(groups, Precision(*precision), Precision(8, 8)),
        transform=options.pop("transform", UNTOUCHED),
        rounding=rounding,
        weight_format=fmt,
        activation_format=options.pop("activation_format", ActivationFormat()),
        layer_data=lambda path: LayerData(path, 0, 0),
        **options,
    )
    return Student(quantized, groups, rounding.of(quantized)), quantized


def rows(transformer, count, seed):
    """Random inputs of a transformer with what it makes of them."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, 4, 8, 8, generator=generator)
    times = torch.randint(0, 1000, (count,), generator=generator)
    classes = torch.randint(0, 4, (count,), generator=generator)
    signal = torch.rand(count, generator=generator)
    with torch.no_grad():
        outputs = transformer(latents, times, classes).sample
    return Trajectories(latents, times, classes, signal, outputs)


def lively_transformer():
    """A tiny DiT whose output depends on its blocks: that of a new one hardly does."""
    transformer = tiny_transformer()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return transformer
