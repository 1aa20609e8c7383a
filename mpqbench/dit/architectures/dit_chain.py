"""The chain of a class-conditional DiT: four stages to a block, adaLN prepared once.

The arithmetic is that of diffusers' ``DiTTransformer2DModel``, operation by operation and bit for
bit: a difference in the last bit rounds some activation to another integer, and many groups of 2 or
3 bits amplify the difference (to 0.3% of a score for 32 groups of the embedded model). Unlike a
chain of whole blocks, states between the layers of a block are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
import torch.nn.functional as F

from ..chain import Attention, Chain, Layer

STAGES = ("attn.qkv", "attn.out", "mlp.up", "mlp.down")  # of a block, in order


@dataclass(frozen=True)
class DiTState:
    """Activations between two stages: the residual stream ``hidden`` (n, tokens, width).

    ``inner`` is the input of ``attn.out`` or ``mlp.down`` after the stage that computes the input.
    """

    hidden: torch.Tensor
    inner: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    @property
    def bytes(self) -> int:
        """Memory of the tensors."""
        return self.hidden.nbytes + (0 if self.inner is None else self.inner.nbytes)

    def rows(self, at: torch.Tensor) -> DiTState:
        """Select the inputs at indices ``at`` (k,)."""
        return DiTState(self.hidden[at], None if self.inner is None else self.inner[at])

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Concatenate the inputs of several states."""
        if len(parts) == 1:
            return parts[0]
        inner = [part.inner for part in parts if part.inner is not None]
        return cls(torch.cat([part.hidden for part in parts]), torch.cat(inner) if inner else None)


@dataclass(frozen=True)
class Modulations:
    """What adaLN makes of times and classes (n,).

    ``packed`` (n, parts, 1, width) has for each block shift, scale and gate of attention, then of
    the MLP, and at the end shift and scale of the final layer; 1 is added to the scales.
    """

    packed: torch.Tensor

    @cached_property
    def _parts(self) -> tuple[torch.Tensor, ...]:
        return self.packed.unbind(1)

    def block(self, number: int) -> tuple[torch.Tensor, ...]:
        """Return the six parts of a block, each (n, 1, width)."""
        return self._parts[6 * number : 6 * number + 6]

    @property
    def final(self) -> tuple[torch.Tensor, ...]:
        """Shift and scale of the final layer, each (n, 1, width)."""
        return self._parts[-2:]

    def rows(self, at: torch.Tensor) -> Modulations:
        """Select the conditions at indices ``at`` (k,)."""
        return Modulations(self.packed[at])


class DiTChain(Chain):
    """The stages of a ``DiTTransformer2DModel``."""

    def __init__(self, transformer: Any, attend: Attention) -> None:
        super().__init__(transformer, attend)
        self.blocks = list(transformer.transformer_blocks)

    @property
    def boundaries(self) -> Sequence[int]:
        return range(len(STAGES) * len(self.blocks) + 1)

    @property
    def block_starts(self) -> Sequence[int]:
        return range(0, len(STAGES) * len(self.blocks) + 1, len(STAGES))

    def conditions(
        self, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> Modulations:
        dtype, count = self.transformer.dtype, len(times)
        found = []
        for block in self.blocks:
            norm = block.norm1
            emb = norm.emb(times, classes, hidden_dtype=dtype)
            found.append(norm.linear(norm.silu(emb)).view(count, 6, 1, -1))
        emb = self.blocks[0].norm1.emb(times, classes, hidden_dtype=dtype)
        found.append(self.transformer.proj_out_1(F.silu(emb)).view(count, 2, 1, -1))
        packed = torch.cat(found, dim=1)
        packed[:, 1::3].add_(1)  # scales: 1 and 4 of six, and 1 of the last two
        return Modulations(packed)

    def start(self, latents: torch.Tensor, conditions: Modulations) -> DiTState:
        return DiTState(self.transformer.pos_embed(latents))

    def input(self, at: int, state: DiTState, conditions: Modulations) -> torch.Tensor:
        block, kind = self.blocks[at // len(STAGES)], STAGES[at % len(STAGES)]
        shift, scale, _, mlp_shift, mlp_scale, _ = conditions.block(at // len(STAGES))
        if kind == "attn.qkv":
            return self.normed(block.norm1.norm, state.hidden, scale, shift)
        if kind == "mlp.up":
            return self.normed(block.norm3, state.hidden, mlp_scale, mlp_shift)
        assert state.inner is not None
        return state.inner

    def run(self, at: int, state: DiTState, conditions: Modulations, layer: Layer) -> DiTState:
        block, kind = self.blocks[at // len(STAGES)], STAGES[at % len(STAGES)]
        output = layer(self.input(at, state, conditions))
        if kind == "attn.qkv":
            parts = output if isinstance(output, tuple) else output.chunk(3, dim=-1)
            heads = (x.unflatten(-1, (block.attn1.heads, -1)) for x in parts)
            mixed = self.attend(*(x.transpose(1, 2) for x in heads))
            return DiTState(state.hidden, mixed.transpose(1, 2).flatten(2).to(parts[0].dtype))
        if kind == "mlp.up":
            return DiTState(state.hidden, self.gelu(output, block.ff.net[0].approximate))
        _, _, gate, _, _, mlp_gate = conditions.block(at // len(STAGES))
        return DiTState(self.gated(gate if kind == "attn.out" else mlp_gate, output, state.hidden))

    def executed(self, at: int) -> range:
        return range(at, at + 1)

    def finish(self, state: DiTState, conditions: Modulations) -> torch.Tensor:
        model, (shift, scale) = self.transformer, conditions.final
        tokens = model.proj_out_2(self.normed(model.norm_out, state.hidden, scale, shift))
        side, patch = int(tokens.shape[1] ** 0.5), model.patch_size
        squares = tokens.view(-1, side, side, patch, patch, model.out_channels)
        return torch.einsum("nhwpqc->nchpwq", squares).reshape(
            -1, model.out_channels, side * patch, side * patch
        )

    def normed(
        self, norm: Any, x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
    ) -> torch.Tensor:
        """Return ``norm(x) scale + shift`` for the inputs of every candidate (n, tokens, width)."""
        x = norm(x)
        candidates = x.view(-1, len(scale), *x.shape[1:])
        return (candidates * scale).add_(shift).view(x.shape)

    def gelu(self, x: torch.Tensor, approximate: str) -> torch.Tensor:
        """Return the activation function of the MLP."""
        return F.gelu(x, approximate=approximate)

    def gated(self, gate: torch.Tensor, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return ``residual + gate x`` for the inputs x (n, tokens, width) of every candidate."""
        return (gate * x.view(-1, len(gate), *x.shape[1:])).view(x.shape).add_(residual)
