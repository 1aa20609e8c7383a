"""A DiT cut where its searchable groups stand: a chain of stages, four to a block.

What is before a stage need not run again when a layer in it or behind it changes, and inputs of
several candidates run through unchanged stages together. The arithmetic is that of diffusers'
``DiTTransformer2DModel``, operation by operation and bit by bit: a last bit that differs rounds
some activation to another integer, and through many groups of 2 or 3 bits that becomes a different
score (0.3% for 32 groups of the embedded model).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from .blocks import embed

Layer = Callable[[torch.Tensor], torch.Tensor]  # input (n, tokens, in) to output (n, tokens, out)
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

STAGES = ("attn.qkv", "attn.out", "mlp.up", "mlp.down")  # of a block, in order


@dataclass(frozen=True)
class State:
    """Between two stages: the residual stream (n, tokens, width), and what a branch of it holds.

    ``inner`` is the input of ``attn.out`` or ``mlp.down`` behind the stage that makes it.
    """

    hidden: torch.Tensor
    inner: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return self.hidden.nbytes + (0 if self.inner is None else self.inner.nbytes)

    def rows(self, at: torch.Tensor) -> State:
        """The inputs at indices ``at`` (k,)."""
        return State(self.hidden[at], None if self.inner is None else self.inner[at])

    @classmethod
    def cat(cls, parts: Sequence[State]) -> State:
        """One state of all inputs."""
        if len(parts) == 1:
            return parts[0]
        inner = [part.inner for part in parts if part.inner is not None]
        hidden = torch.cat([part.hidden for part in parts])
        return cls(hidden, torch.cat(inner) if inner else None)


# Per block: shift, scale and gate of attention, then of the MLP, each (inputs, 1, width).
Conditions = list[tuple[torch.Tensor, ...]]


class Chain:
    """The stages of a transformer. ``attend`` mixes queries, keys and values (n, heads, tokens, d).

    A state may hold several times as many inputs as the conditions have: candidate after candidate,
    each with the same inputs in the same order.
    """

    def __init__(
        self, transformer: Any, attend: Attention = F.scaled_dot_product_attention
    ) -> None:
        self.transformer, self.attend = transformer, attend
        self.blocks = list(transformer.transformer_blocks)

    def __len__(self) -> int:
        return len(STAGES) * len(self.blocks)

    def start(self, latents: torch.Tensor) -> State:
        """Latents (n, c, h, w) before the first stage."""
        return State(embed(self.transformer, latents))

    def conditions(self, times: torch.Tensor, classes: torch.Tensor) -> Conditions:
        """What adaLN makes of times and classes (n,), with its layers as they are now."""
        found = []
        for block in self.blocks:
            norm = block.norm1
            emb = norm.emb(times, classes, hidden_dtype=block.attn1.to_q.weight.dtype)
            found.append(tuple(norm.linear(norm.silu(emb)).unsqueeze(1).chunk(6, dim=2)))
        return found

    def input(self, at: int, state: State, conditions: Conditions) -> torch.Tensor:
        """What the layers of stage ``at`` read: (n, tokens, in)."""
        block, kind = self.blocks[at // len(STAGES)], STAGES[at % len(STAGES)]
        shift, scale, _, mlp_shift, mlp_scale, _ = conditions[at // len(STAGES)]
        if kind == "attn.qkv":
            return _modulated(block.norm1.norm(state.hidden), scale, shift)
        if kind == "mlp.up":
            return _modulated(block.norm3(state.hidden), mlp_scale, mlp_shift)
        assert state.inner is not None
        return state.inner

    def run(self, at: int, state: State, conditions: Conditions, layer: Layer) -> State:
        """Stage ``at`` with ``layer`` in the place of its linear layers.

        The layer of ``attn.qkv`` gives queries, keys and values side by side.
        """
        block, kind = self.blocks[at // len(STAGES)], STAGES[at % len(STAGES)]
        output = layer(self.input(at, state, conditions))
        if kind == "attn.qkv":
            return State(state.hidden, self._mixed(block.attn1.heads, output))
        if kind == "mlp.up":
            approximate = block.ff.net[0].approximate
            return State(state.hidden, F.gelu(output, approximate=approximate))
        _, _, gate, _, _, mlp_gate = conditions[at // len(STAGES)]
        return State(_gated(gate if kind == "attn.out" else mlp_gate, output).add_(state.hidden))

    def finish(self, state: State, times: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Output (n, channels, h, w) behind the last stage; times and classes: (inputs,)."""
        model = self.transformer
        emb = model.transformer_blocks[0].norm1.emb(times, classes, hidden_dtype=state.hidden.dtype)
        shift, scale = model.proj_out_1(F.silu(emb)).unsqueeze(1).chunk(2, dim=2)
        tokens = model.proj_out_2(_modulated(model.norm_out(state.hidden), scale, shift))
        side, patch = int(tokens.shape[1] ** 0.5), model.patch_size
        squares = tokens.view(-1, side, side, patch, patch, model.out_channels)
        return torch.einsum("nhwpqc->nchpwq", squares).reshape(
            -1, model.out_channels, side * patch, side * patch
        )

    def _mixed(self, heads: int, output: torch.Tensor) -> torch.Tensor:
        parts = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in output.chunk(3, dim=-1)]
        return self.attend(*parts).transpose(1, 2).flatten(2).to(output.dtype)


def _modulated(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """``x (1 + scale) + shift`` for every candidate's share of x (n, tokens, width)."""
    shares = x.view(-1, *_share(x, scale))
    return (shares * (1 + scale)).add_(shift).view(x.shape)


def _gated(gate: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (gate * x.view(-1, *_share(x, gate))).view(x.shape)


def _share(x: torch.Tensor, condition: torch.Tensor) -> tuple[int, int, int]:
    return len(condition), x.shape[1], x.shape[2]
