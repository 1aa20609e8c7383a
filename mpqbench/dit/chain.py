"""A DiT as a chain of stages, one for each searchable group, four to a block.

When a layer changes, only its stage and later ones need to run again, and the inputs of several
candidates pass through unchanged stages together. The arithmetic is that of diffusers'
``DiTTransformer2DModel``, operation by operation and bit for bit: a difference in the last bit
rounds some activation to another integer, and many groups of 2 or 3 bits amplify the difference
(to 0.3% of a score for 32 groups of the embedded model).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F

Layer = Callable[[torch.Tensor], torch.Tensor]  # input (n, tokens, in) to output (n, tokens, out)
Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

STAGES = ("attn.qkv", "attn.out", "mlp.up", "mlp.down")  # of a block, in order


@dataclass(frozen=True)
class State:
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

    def rows(self, at: torch.Tensor) -> "State":
        """Select the inputs at indices ``at`` (k,)."""
        return State(self.hidden[at], None if self.inner is None else self.inner[at])

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Concatenate the inputs of several states."""
        if len(parts) == 1:
            return parts[0]
        inner = [part.inner for part in parts if part.inner is not None]
        return cls(torch.cat([part.hidden for part in parts]), torch.cat(inner) if inner else None)


# Per block: shift, scale and gate of attention, then of the MLP, each (inputs, 1, width).
Conditions = list[tuple[torch.Tensor, ...]]


class Chain:
    """The stages of a transformer; ``attend`` takes queries, keys, values (n, heads, tokens, d).

    A state may hold a multiple of the inputs that the conditions are for: candidate after
    candidate, each with the same inputs in the same order.
    """

    def __init__(self, transformer: Any, attend: Attention) -> None:
        self.transformer, self.attend = transformer, attend
        self.blocks = list(transformer.transformer_blocks)

    def __len__(self) -> int:
        return len(STAGES) * len(self.blocks)

    @property
    def block_starts(self) -> range:
        """The first stage of every block, and the end of the last one."""
        return range(0, len(self) + 1, len(STAGES))

    def start(self, latents: torch.Tensor) -> State:
        """Return the state of latents (n, c, h, w) before the first stage."""
        return State(self.transformer.pos_embed(latents))

    def conditions(self, times: torch.Tensor, classes: torch.Tensor) -> Conditions:
        """Compute the adaLN modulations of times and classes (n,) with the current adaLN layers."""
        found = []
        for block in self.blocks:
            norm = block.norm1
            emb = norm.emb(times, classes, hidden_dtype=block.attn1.to_q.weight.dtype)
            found.append(tuple(norm.linear(norm.silu(emb)).unsqueeze(1).chunk(6, dim=2)))
        return found

    def input(self, at: int, state: State, conditions: Conditions) -> torch.Tensor:
        """Return the input (n, tokens, in) of the layers of stage ``at``."""
        block, kind = self.blocks[at // len(STAGES)], STAGES[at % len(STAGES)]
        shift, scale, _, mlp_shift, mlp_scale, _ = conditions[at // len(STAGES)]
        if kind == "attn.qkv":
            return _modulated(block.norm1.norm(state.hidden), scale, shift)
        if kind == "mlp.up":
            return _modulated(block.norm3(state.hidden), mlp_scale, mlp_shift)
        assert state.inner is not None
        return state.inner

    def run(self, at: int, state: State, conditions: Conditions, layer: Layer) -> State:
        """Run stage ``at`` with ``layer`` in the place of its linear layers.

        The layer of ``attn.qkv`` returns queries, keys and values side by side.
        """
        block, kind = self.blocks[at // len(STAGES)], STAGES[at % len(STAGES)]
        output = layer(self.input(at, state, conditions))
        if kind == "attn.qkv":
            heads = (x.unflatten(-1, (block.attn1.heads, -1)) for x in output.chunk(3, dim=-1))
            mixed = self.attend(*(x.transpose(1, 2) for x in heads))
            return State(state.hidden, mixed.transpose(1, 2).flatten(2).to(output.dtype))
        if kind == "mlp.up":
            approximate = block.ff.net[0].approximate
            return State(state.hidden, F.gelu(output, approximate=approximate))
        _, _, gate, _, _, mlp_gate = conditions[at // len(STAGES)]
        return State(_gated(gate if kind == "attn.out" else mlp_gate, output).add_(state.hidden))

    def finish(self, state: State, times: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Compute the output (n, channels, h, w) after the last stage; times, classes: (n,)."""
        model = self.transformer
        emb = model.transformer_blocks[0].norm1.emb(times, classes, hidden_dtype=state.hidden.dtype)
        shift, scale = model.proj_out_1(F.silu(emb)).unsqueeze(1).chunk(2, dim=2)
        tokens = model.proj_out_2(_modulated(model.norm_out(state.hidden), scale, shift))
        side, patch = int(tokens.shape[1] ** 0.5), model.patch_size
        squares = tokens.view(-1, side, side, patch, patch, model.out_channels)
        return torch.einsum("nhwpqc->nchpwq", squares).reshape(
            -1, model.out_channels, side * patch, side * patch
        )


def _modulated(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return ``x (1 + scale) + shift`` for the inputs x (n, tokens, width) of every candidate."""
    candidates = x.view(-1, len(scale), *x.shape[1:])
    return (candidates * (1 + scale)).add_(shift).view(x.shape)


def _gated(gate: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (gate * x.view(-1, len(gate), *x.shape[1:])).view(x.shape)
