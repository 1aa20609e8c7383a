"""Layers that plugins are checked on: ordinary ones, and hostile ones with extreme numbers."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..contracts import LayerData
from ..core.formats import PER_CHANNEL, WeightFormat, divisors
from ..core.precision import Precision

BITS = (2, 3, 4, 8)
STEPS = (999, 650, 300, 20)
ROWS_PER_STEP = 64
ORDINARY_SHAPES = ((24, 12), (20, 36), (12, 64), (12, 72), (10, 144))
HOSTILE_SHAPE = (6, 20)


@dataclass(frozen=True, eq=False)
class SampleLayer:
    """A weight (out, in) and inputs (n, in), float32, with the format that the weight is to get.

    On a ``hostile`` layer only finite results are asked for.
    """

    name: str
    weight: torch.Tensor
    inputs: torch.Tensor
    hostile: bool = False
    fmt: WeightFormat = PER_CHANNEL
    bits: int = 4

    def __str__(self) -> str:
        kind = f"symmetric ({self.fmt.symmetric})" if self.fmt.symmetric else "asymmetric"
        shape = tuple(self.weight.shape)
        return f"layer '{self.name}' {shape}, {kind} {self.fmt.granularity}, {self.bits} bits"

    def data(self, needs_inputs: bool, seed: int = 7) -> LayerData:
        """Return what the harness would tell a plugin, in new tensors."""
        out, width = self.weight.shape
        calibration: dict[str, Any] = {}
        if needs_inputs:
            x, steps = self.inputs.double(), torch.tensor(STEPS)
            calibration = {
                "inputs": self.inputs.clone(),
                "times": steps.repeat_interleave(len(x) // len(steps)),
                "moment": (x.T @ x / len(x)).float(),
                "step_maxima": self.inputs.reshape(len(steps), -1, width).abs().amax(1),
                "steps": steps,
            }
        precision = Precision(self.bits, self.bits)
        known = LayerData(self.name, width, out, seed=seed, precision=precision)
        return replace(known, weight_format=self.fmt, **calibration)


@functools.cache
def ordinary(out: int, width: int, seed: int = 0) -> SampleLayer:
    """Return a Gaussian weight and inputs of unequal spread.

    Neighbouring channels of the inputs correlate, and the spread shrinks over the time steps.
    """
    generator = torch.Generator().manual_seed(1000 * seed + width)
    weight = 0.05 * torch.randn(out, width, generator=generator)
    noise = torch.randn(len(STEPS), ROWS_PER_STEP, width, generator=generator)
    channels = torch.arange(width)
    mixing = 0.7 ** (channels[:, None] - channels).abs()
    spread = torch.randn(width, generator=generator).mul(0.5).exp()
    shrinking = torch.linspace(1, 0.4, len(STEPS)).reshape(-1, 1, 1)
    inputs = (noise @ mixing) * spread * shrinking
    return SampleLayer("ordinary", weight, inputs.reshape(-1, width))


def ordinary_layers(quick: bool) -> list[SampleLayer]:
    """Return ordinary layers of several shapes, fewer with ``quick``."""
    return [ordinary(*shape) for shape in (ORDINARY_SHAPES[1::2] if quick else ORDINARY_SHAPES)]


@functools.cache
def hostile() -> tuple[SampleLayer, ...]:
    """Return layers on which naive arithmetic divides by zero or overflows."""
    base = ordinary(*HOSTILE_SHAPE)
    weight, inputs = base.weight, base.inputs
    outlier, big_input = weight.clone(), inputs.clone()
    outlier[1, 2] = 1e30
    big_input[5, 3] = 1e12  # its square still fits in the moment
    dead_weight, dead_input = weight.clone(), inputs.clone()
    dead_weight[:, 4] = dead_input[:, 4] = 0
    dead_weight[:, 5] = dead_input[:, 6] = 0
    found = {
        "constant": (torch.full_like(weight, 0.3), torch.ones_like(inputs)),
        "all zero": (torch.zeros_like(weight), inputs),
        "one huge weight": (outlier, inputs),
        "one huge input": (weight, big_input),
        "one input": (weight[:, :1].clone(), inputs[:, :1].clone()),
        "one output": (weight[:1].clone(), inputs),
        "denormals": (weight * 1e-38, inputs * 1e-38),
        "dead channels": (dead_weight, dead_input),
    }
    return tuple(SampleLayer(name, *tensors, hostile=True) for name, tensors in found.items())


@functools.cache
def layers_in_formats(quick: bool) -> tuple[SampleLayer, ...]:
    """Return layers with formats and bits, in which every pair of two of the three occurs.

    With ``quick`` each layer occurs once, and every format and bit width at least once.
    """
    found = []
    for i, layer in enumerate((*hostile(), *ordinary_layers(quick=False))):
        width = layer.weight.shape[1]
        group = max(n for n in divisors(width) if n <= max(1, width // 3))
        for j in [i % 9] if quick else range(9):
            kind: Any = ("tensor", "channel", "group")[j // 3]
            size = group if kind == "group" else None
            symmetry: Any = ("restricted", False, "full")[j % 3]
            fmt = WeightFormat(granularity=kind, group=size, symmetric=symmetry)
            found.append(replace(layer, fmt=fmt, bits=BITS[(i + j + i // 9) % len(BITS)]))
    return tuple(found)
