"""What a tuner trains in a quantized layer: its scales, its weights, its bias, a low-rank branch.

A source makes a layer's tensor anew in every forward; ``ParametrizedLayer`` puts sources into a
layer and takes them out again, which leaves plain buffers. All parameters are float32, whatever the
type of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..contracts import QuantizedWeight
from .affine import fake_quantize_dynamic
from .factors import BlockFactors, BlockPartition
from .group import QuantizedLinear
from .lsq import fake_quantize_lsq, scale_gradient, step_factor

GRID_PARAMETERS = ("scales.log", "zero")  # of a weight's source, trained at a rate of their own


class Scales(nn.Module):
    """Positive scales ``s = s0 exp(f)`` with trained f, 0 at first; gradients scaled as in LSQ.

    In the logarithm one learning rate suits layers of any size, and no scale changes its sign (our
    choice; LSQ trains s itself).
    """

    def __init__(self, rounded: QuantizedWeight) -> None:
        super().__init__()
        scale = rounded.scale.detach().float()
        highest = integer_range(rounded)[1]
        self.factor = step_factor(rounded.integers.numel() // scale.numel(), highest)
        self.log = nn.Parameter(torch.zeros_like(scale))
        self.first: torch.Tensor
        self.register_buffer("first", scale.clone(), persistent=False)

    def forward(self) -> torch.Tensor:
        """The scales (out or 1, groups)."""
        return self.first * scale_gradient(self.log, self.factor).exp()


class FrozenIntegers(nn.Module):
    """A weight ``s (q - z)`` whose integers q stay; s is trained, and z where ``zeros`` is true.

    The integers take a byte each, which is all that a frozen weight needs (as in QLoRA, arXiv
    2305.14314). A trained z is no whole number any more. Grids without zero points keep none.
    """

    def __init__(self, rounded: QuantizedWeight, zeros: bool) -> None:
        super().__init__()
        self.bits = rounded.bits
        kind = torch.int8 if integer_range(rounded)[0] < 0 else torch.uint8
        self.integers: torch.Tensor
        self.register_buffer("integers", rounded.integers.to(kind), persistent=False)
        self.scales = Scales(rounded)
        zero = rounded.zero.detach().float().clone()
        self.zero = nn.Parameter(zero, requires_grad=zeros and bool(zero.any()))

    def forward(self) -> torch.Tensor:
        """Weight (out, in) float32."""
        return QuantizedWeight(self.integers, self.scales(), self.zero, self.bits).dequantize()

    @torch.no_grad()
    def rounded(self) -> QuantizedWeight:
        """The same integers on the grid as it is now."""
        integers, zero = self.integers.to(torch.int16), self.zero.detach().clone()
        return QuantizedWeight(integers, self.scales(), zero, self.bits)


class RoundedWeight(nn.Module):
    """A weight trained in float32 and rounded in every forward; its scales are trained too.

    It starts at the numbers that the rounding chose, so the first forward is the one of the
    post-training model, whatever the rounding. Zero points stay.
    """

    def __init__(self, rounded: QuantizedWeight) -> None:
        super().__init__()
        self.bits, self.range = rounded.bits, integer_range(rounded)
        self.scales = Scales(rounded)
        self.zero: torch.Tensor
        self.register_buffer("zero", rounded.zero.detach().float().clone(), persistent=False)
        self.latent = nn.Parameter(rounded.dequantize().float())

    def forward(self) -> torch.Tensor:
        """Weight (out, in) float32, every number on its grid."""
        scale, zero = self.scales()[..., None], self.zero[..., None]
        return fake_quantize_lsq(self._blocks, scale, zero, *self.range).flatten(1)

    @torch.no_grad()
    def rounded(self) -> QuantizedWeight:
        """The weight rounded for good."""
        scale = self.scales()
        units = (self._blocks / scale[..., None] + self.zero[..., None]).round()
        integers = units.clamp(*self.range).flatten(1).to(torch.int16)
        return QuantizedWeight(integers, scale, self.zero, self.bits)

    @property
    def _blocks(self) -> torch.Tensor:
        return self.latent.unflatten(1, (self.zero.shape[1], -1))


class Free(nn.Module):
    """Any tensor and what is added to it in training, 0 at first."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.first: torch.Tensor
        self.register_buffer("first", value.detach().float().clone(), persistent=False)
        self.change = nn.Parameter(torch.zeros_like(self.first))

    def forward(self) -> torch.Tensor:
        """The tensor as it is now, float32."""
        return self.first + self.change


class OnEightBits(Free):
    """The same on symmetric 8-bit grids: one for each index of its first axis, or of its only axis
    one for all, as 8-bit branches are made. Straight-through for gradients."""

    def forward(self) -> torch.Tensor:
        """The tensor as it is now, rounded, float32."""
        values = super().forward()
        with torch.no_grad():
            rows = values.flatten(1) if values.ndim > 1 else values
            rounded = fake_quantize_dynamic(rows, 8, symmetric=True).view_as(values)
        return values + (rounded - values).detach()


def branch_sources(branch: Any) -> Iterator[tuple[nn.Module, dict[str, Free]]]:
    """The modules of a branch that have parameters, with a source for each, at its own bits.

    Nothing is asked of a branch but that it is an ``nn.Module`` with a ``size``.
    """
    kind = OnEightBits if branch.size.bits == 8 else Free
    for module in branch.modules():
        own = {name: kind(value) for name, value in module.named_parameters(recurse=False)}
        if own:
            yield module, own


def low_rank_adapter(layer: QuantizedLinear, rank: int, seed: int) -> BlockFactors:
    """A branch ``x A^T B^T`` of 16 bits, B = 0 at first, so nothing changes (LoRA, 2106.09685).

    A (rank, in) has independent normal numbers of variance 1 / in, drawn from ``seed``.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = BlockPartition(layer.out_features, layer.in_features, rank=rank)
    right = torch.randn(1, grid.kept, grid.width, generator=generator) / math.sqrt(grid.width)
    left = torch.zeros(1, grid.out, grid.kept)
    return BlockFactors(left, right, grid, bits=16).to(layer.weight.device)


def integer_range(rounded: QuantizedWeight) -> tuple[int, int]:
    """Smallest and largest integer of the grid: with a sign where one of its integers has one."""
    half = 2 ** (rounded.bits - 1)
    signed = int(rounded.integers.min()) < 0
    return (-half, half - 1) if signed else (0, 2 * half - 1)


class ParametrizedLayer:
    """While inside, tensors of ``module`` are made by ``sources`` when it runs, and dropped after.

    ``sources`` are by the name of a parameter or buffer. So no float weight outlives a forward, and
    gradient checkpointing makes it again. Leaving writes the last values back as what they were, a
    parameter or a buffer, without gradients.
    """

    def __init__(self, module: nn.Module, sources: Mapping[str, nn.Module]) -> None:
        self.module, self.sources = module, dict(sources)
        self._types = {name: getattr(module, name).dtype for name in sources}
        self._parameters = {name for name, _ in module.named_parameters()} & sources.keys()
        for name, source in sources.items():
            source.to(getattr(module, name).device)

    def __enter__(self) -> None:
        for name in self.sources:
            delattr(self.module, name)
        self._drop()
        self._hooks = [
            self.module.register_forward_pre_hook(self._make),
            self.module.register_forward_hook(self._drop, always_call=True),
        ]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        with torch.no_grad():
            self._make()
        for name in self.sources:
            value = getattr(self.module, name).detach().clone()
            delattr(self.module, name)
            if name in self._parameters:
                self.module.register_parameter(name, nn.Parameter(value, requires_grad=False))
            else:
                self.module.register_buffer(name, value)

    def _make(self, *_of_the_hook: Any) -> None:
        for name, source in self.sources.items():
            setattr(self.module, name, source().to(self._types[name]))

    def _drop(self, *_of_the_hook: Any) -> None:
        for name in self.sources:
            setattr(self.module, name, None)
