"""What a tuner trains in a quantized layer: its scales, its weights, its bias, a low-rank branch.

A source makes a layer's tensor anew in every forward; ``ParametrizedLayer`` puts sources into a
layer and takes them out again, which leaves plain buffers. All parameters are float32, whatever the
type of the model. Gradients of scales and zero points are those of LSQ (arXiv 1902.08153, equations
3 and 5), which follow from treating ``round`` as the identity.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from ..contracts import QuantizedWeight
from .affine import fake_quantize_dynamic
from .factors import BlockFactors, BlockPartition
from .group import QuantizedLinear

QPARAM_NAMES = ("scales.log", "zero")  # of a weight's source, trained at a rate of their own


def fake_quantize_lsq(
    v: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, lowest: int, highest: int
) -> torch.Tensor:
    """Return ``s (clip(round(v / s) + z, lowest, highest) - z)``, same shape as ``v``.

    ``scale`` (positive) and ``zero`` (whole) broadcast against v. Inside the range the gradient by
    v is 1 and that by s is ``round(v / s) - v / s``; outside it is 0 and ``end - z``.
    """
    inside = (v / scale + zero).clamp(lowest, highest)
    return scale * (inside + (inside.round() - inside).detach() - zero)  # round: straight-through


class Scales(nn.Module):
    """Positive scales ``s = s0 exp(f)`` with trained f, 0 at first.

    In the logarithm one learning rate suits layers of any size, and no scale changes its sign (our
    choice; LSQ trains s itself). As in LSQ, the gradient of a scale of N weights is multiplied by
    ``1 / sqrt(N Q_P)``, with the largest integer Q_P.
    """

    def __init__(self, rounded: QuantizedWeight) -> None:
        super().__init__()
        scale = rounded.scale.detach().float()
        weights, highest = rounded.integers.numel() // scale.numel(), integer_range(rounded)[1]
        self.factor = (weights * highest) ** -0.5
        self.log = nn.Parameter(torch.zeros_like(scale))
        self.first: torch.Tensor
        self.register_buffer("first", scale.clone(), persistent=False)

    def forward(self) -> torch.Tensor:
        """Return the scales (out or 1, groups)."""
        log = torch.lerp(self.log.detach(), self.log, self.factor) if self.factor != 1 else self.log
        return self.first * log.exp()


class FrozenIntegers(nn.Module):
    """A weight ``s (q - z)`` whose integers q stay; s is trained, and z where ``zeros`` is true.

    The integers take a byte each (as in QLoRA, arXiv 2305.14314). A trained z is no whole number
    any more; a weight without zero points keeps none.
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
        """Return the weight (out, in) float32."""
        return QuantizedWeight(self.integers, self.scales(), self.zero, self.bits).dequantize()

    @torch.no_grad()
    def rounded(self) -> QuantizedWeight:
        """Return the same integers with the trained scales and zero points."""
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
        """Return the rounded weight (out, in) float32."""
        scale, zero = self.scales()[..., None], self.zero[..., None]
        return fake_quantize_lsq(self._blocks(), scale, zero, *self.range).flatten(1)

    @torch.no_grad()
    def rounded(self) -> QuantizedWeight:
        """Return the weight rounded for good."""
        scale = self.scales()
        units = (self._blocks() / scale[..., None] + self.zero[..., None]).round()
        integers = units.clamp(*self.range).flatten(1).to(torch.int16)
        return QuantizedWeight(integers, scale, self.zero, self.bits)

    def _blocks(self) -> torch.Tensor:
        return self.latent.unflatten(1, (self.zero.shape[1], -1))


class Free(nn.Module):
    """A tensor and a trained change that is added to it, 0 at first."""

    def __init__(self, value: torch.Tensor) -> None:
        super().__init__()
        self.first: torch.Tensor
        self.register_buffer("first", value.detach().float().clone(), persistent=False)
        self.change = nn.Parameter(torch.zeros_like(self.first))

    def forward(self) -> torch.Tensor:
        """Return the tensor as it is now, float32."""
        return self.first + self.change


class FreeInt8(Free):
    """A ``Free`` tensor in symmetric 8 bits, as 8-bit branches are stored; straight-through.

    Each index of the first axis has a scale; a vector has one scale.
    """

    def forward(self) -> torch.Tensor:
        """Return the tensor as it is now, fake-quantized, float32."""
        values = super().forward()
        with torch.no_grad():
            rows = values.flatten(1) if values.ndim > 1 else values
            rounded = fake_quantize_dynamic(rows, 8, symmetric="restricted").view_as(values)
        return values + (rounded - values).detach()


def branch_sources(branch: Any) -> Iterator[tuple[nn.Module, dict[str, Free]]]:
    """Yield the modules of a branch that have parameters, with sources at the branch's bits."""
    kind = FreeInt8 if branch.size.bits == 8 else Free
    for module in branch.modules():
        sources = {name: kind(value) for name, value in module.named_parameters(recurse=False)}
        if sources:
            yield module, sources


def low_rank_adapter(layer: QuantizedLinear, rank: int, seed: int) -> BlockFactors:
    """Return a branch ``x A^T B^T`` of 16 bits with B = 0 (LoRA, arXiv 2106.09685).

    A (rank, in) has independent normal numbers of variance 1 / in, drawn from ``seed``.
    """
    generator = torch.Generator().manual_seed(seed)
    partition = BlockPartition(layer.out_features, layer.in_features, rank=rank)
    right = torch.randn(1, partition.kept, partition.width, generator=generator)
    left = torch.zeros(1, partition.out, partition.kept)
    factors = BlockFactors(left, right / math.sqrt(partition.width), partition, bits=16)
    return factors.to(layer.weight.device)


def integer_range(rounded: QuantizedWeight) -> tuple[int, int]:
    """Return the smallest and largest integer: signed where one of the weight's is negative."""
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

    def __exit__(self, *_error: object) -> None:
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

    def _make(self, *_of_the_hook: object) -> None:
        for name, source in self.sources.items():
            setattr(self.module, name, source().to(self._types[name]))

    def _drop(self, *_of_the_hook: object) -> None:
        for name in self.sources:
            setattr(self.module, name, None)
