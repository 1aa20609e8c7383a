"""Many forwards of one class-conditional DiT that does not change, as sampling needs them.

diffusers embeds time and class, and computes the modulation by adaLN, in every block and for every
image. Both depend on time and class alone: here they are computed once for each pair of a time and
a class, and kept from micro-batch to micro-batch. All other arithmetic is that of ``DiTChain``, so
that outputs are those of diffusers' forward bit for bit, where a matrix product of ``FEWEST`` rows
or more gives a row the same bits whatever the other rows are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch import nn

from .. import native
from ..chain import Layer
from ..products import prepared
from ..replaced import replaced_forwards
from .dit_chain import DiTChain, Modulations

FEWEST = 8  # rows: products of one to three rows take another path of MKL, and get other last bits
KEPT_BYTES = 2**28  # of modulations


class KernelChain(DiTChain):
    """A chain whose steps between layers run in compiled kernels, which change last bits."""

    def normed(
        self, norm: Any, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
    ) -> torch.Tensor:
        if norm.elementwise_affine or not native.fits(x, x.shape[-1]):
            return super().normed(norm, x, scale, shift)
        return native.modulated_norm(x, scale, shift, norm.eps)

    def gelu(self, x: torch.Tensor, approximate: str) -> torch.Tensor:
        fits = approximate == "tanh" and native.fits(x, x.shape[-1])
        return native.gelu(x) if fits else super().gelu(x, approximate)

    def gated(self, gate: torch.Tensor, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        fits = native.fits(x, x.shape[-1]) and residual.is_contiguous()
        return native.gated_sum(x, gate, residual) if fits else super().gated(gate, x, residual)


class DiTForward:
    """The outputs (n, channels, h, w) of latents (n, c, h, w), times and classes (n,).

    ``transformer`` must not change between calls, and no gradients are computed. Its layers may be
    quantized; it may have hooks itself, the modules that are not called here must have none.
    """

    def __init__(self, transformer: Any, chain: type[DiTChain] = DiTChain) -> None:
        self.transformer = transformer
        self.chain = chain(transformer, F.scaled_dot_product_attention)
        self.layers = [layer for block in self.chain.blocks for layer in _layers(block)]
        # A hook may tell time-grouped quantizers the time of each input: they must all be there.
        self._distinct = not transformer._forward_pre_hooks
        self._kept: dict[tuple[tuple[float, int], ...], Modulations] = {}
        self._bytes = 0

    @torch.inference_mode()
    def __call__(
        self, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        with replaced_forwards([(self.transformer, self._forward)]):  # within its hooks
            output: torch.Tensor = self.transformer(latents, times, classes).sample
        return output

    def _forward(
        self, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> Transformer2DModelOutput:
        conditions = self._conditions(latents, times, classes)
        state = self.chain.start(latents, conditions)
        for at, layer in enumerate(self.layers):
            state = self.chain.run(at, state, conditions, layer)
        return Transformer2DModelOutput(sample=self.chain.finish(state, conditions))

    def _conditions(
        self, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> Modulations:
        pairs = list(zip(times.tolist(), classes.tolist(), strict=True))
        distinct = tuple(sorted(set(pairs)))
        if not self._distinct or len(distinct) < FEWEST:
            return self.chain.conditions(latents, times, classes)
        if distinct not in self._kept:
            first = torch.tensor([pairs.index(pair) for pair in distinct], device=times.device)
            found = self.chain.conditions(latents, times[first], classes[first])
            if self._bytes + found.packed.nbytes > KEPT_BYTES:
                self._kept, self._bytes = {}, 0
            self._kept[distinct] = found
            self._bytes += found.packed.nbytes
        number = {pair: at for at, pair in enumerate(distinct)}
        rows = torch.tensor([number[pair] for pair in pairs], device=times.device)
        return self._kept[distinct].rows(rows)


def is_plain(transformer: Any) -> bool:
    """Return whether every module that ``DiTForward`` does not call does what its class does."""
    passed = [module for block in transformer.transformer_blocks for module in _passed(block)]
    return not transformer.training and not any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
        for module in passed
    )


def _layers(block: Any) -> list[Layer]:
    """Return the layers of the stages of a block, those of q, k and v one after another."""
    attention, mlp = block.attn1, block.ff.net
    several = [prepared(layer) for layer in (attention.to_q, attention.to_k, attention.to_v)]
    together: Any = lambda x: tuple(layer(x) for layer in several)  # noqa: E731
    return [together, *map(prepared, (attention.to_out[0], mlp[0].proj, mlp[2]))]


def _passed(block: Any) -> Iterator[nn.Module]:
    yield from (block, block.norm1, block.attn1, block.ff, block.ff.net[0])
