"""Layers that plugins are checked on: ordinary ones, and hostile ones with extreme numbers."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

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
    """A weight (out, in) and inputs (n, in), float32; on a ``hostile`` layer only finite results
    are asked for."""

    name: str
    weight: torch.Tensor
    inputs: torch.Tensor
    hostile: bool = False

    @property
    def width(self) -> int:
        """The number of input columns."""
        return self.weight.shape[1]

    def __str__(self) -> str:
        return f"layer '{self.name}' {tuple(self.weight.shape)}"

    def data(
        self,
        needs_inputs: bool,
        fmt: WeightFormat = PER_CHANNEL,
        bits: int = 4,
        seed: int = 7,
        device: torch.device | str = "cpu",
    ) -> LayerData:
        """Return what the harness would tell a plugin, in new tensors on ``device``."""
        known = LayerData(
            name=self.name,
            in_features=self.width,
            out_features=self.weight.shape[0],
            seed=seed,
            precision=Precision(bits, bits),
            weight_format=fmt,
        )
        if not needs_inputs:
            return known
        x = self.inputs.double()
        by_step = self.inputs.reshape(len(STEPS), -1, self.width)
        steps = torch.tensor(STEPS)
        return replace(
            known,
            inputs=self.inputs.to(device, copy=True),
            times=steps.repeat_interleave(by_step.shape[1]).to(device),
            moment=(x.T @ x / len(x)).float().to(device),
            step_maxima=by_step.abs().amax(1).to(device),
            steps=steps.to(device),
        )


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


@dataclass(frozen=True)
class RoundingCase:
    """One layer in one format at one number of bits."""

    layer: SampleLayer
    fmt: WeightFormat
    bits: int

    def __str__(self) -> str:
        kind = "symmetric" if self.fmt.symmetric else "asymmetric"
        return f"{self.layer}, {kind} {self.fmt.granularity}, {self.bits} bits"


@functools.cache
def cases(quick: bool) -> tuple[RoundingCase, ...]:
    """Return layers with formats and bits, in which every pair of two of the three occurs.

    With ``quick`` each layer occurs once, and every format and bit width at least once.
    """
    found = []
    for i, layer in enumerate((*hostile(), *(ordinary(*shape) for shape in ORDINARY_SHAPES))):
        group = max(n for n in divisors(layer.width) if n <= max(1, layer.width // 3))
        for j in [i % 6] if quick else range(6):
            kind = ("tensor", "channel", "group")[j // 2]
            size = group if kind == "group" else None
            fmt = {"granularity": kind, "group": size, "symmetric": j % 2 == 0}
            bits = BITS[(i + j + i // 6) % len(BITS)]
            found.append(RoundingCase(layer, WeightFormat.model_validate(fmt), bits))
    return tuple(found)
