"""The chain of any architecture: diffusers' own blocks, each run when its last layer is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import torch
from torch import nn

from .architectures import architecture_of
from .blocks import (
    Activations,
    BlockCall,
    block_calls,
    block_modules,
    finish,
    run_block,
)
from .chain import Attention, Chain, Layer
from .groups import Group, layer_groups
from .replaced import replaced_attention, replaced_forwards


def chain_of(transformer: Any, attend: Attention) -> Chain:
    """Return the chain of the architecture, or one of whole blocks."""
    own = architecture_of(transformer).own_chain(transformer, attend)
    return own or BlockChain(transformer, attend)


@dataclass(frozen=True)
class BlockState:
    """Activations before a block, and the layers of its first stages, which have not run yet."""

    tensors: Activations
    pending: tuple[Layer, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def bytes(self) -> int:
        """Memory of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def rows(self, at: torch.Tensor) -> BlockState:
        """Select the inputs at indices ``at`` (k,)."""
        return BlockState({name: x[at] for name, x in self.tensors.items()}, self.pending)

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Concatenate the inputs of several states, none of which has layers that wait."""
        if len(parts) == 1:
            return parts[0]
        assert not any(part.pending for part in parts)
        names = parts[0].tensors
        return cls({name: torch.cat([part.tensors[name] for part in parts]) for name in names})


@dataclass(frozen=True)
class Prepared:
    """What a forward of n inputs needs beside the state.

    ``given`` are latents, times and classes; ``calls`` has the call of every block; ``fixed`` the
    layers that stand in the place of those that no search touches, by path.
    """

    given: tuple[torch.Tensor, ...]
    calls: Sequence[BlockCall]
    fixed: Mapping[str, nn.Module] = field(default_factory=dict)


class BlockChain(Chain):
    """Runs a block as diffusers does, with given layers in the place of its linear layers.

    The linear layers of the block are replaced for the time of a call, those of a group by parts
    of one output.
    """

    def __init__(self, transformer: Any, attend: Attention) -> None:
        super().__init__(transformer, attend)
        groups = layer_groups(transformer)
        self.stages = [group for group in groups if group.searchable]
        self._linears = {
            path: transformer.get_submodule(path) for group in groups for path in group.layers
        }
        self._modules = block_modules(transformer)
        self._fixed = [path for g in groups if not g.searchable for path in g.layers]
        self._blocks = [g.block for g in self.stages]
        starts = [at for at, block in enumerate(self._blocks) if block not in self._blocks[:at]]
        self._starts = [*starts, len(self.stages)]

    @property
    def boundaries(self) -> Sequence[int]:
        return self._starts

    @property
    def block_starts(self) -> Sequence[int]:
        return self._starts

    def conditions(
        self, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> Prepared:
        given = (latents, times, classes)
        present = {path: self.transformer.get_submodule(path) for path in self._fixed}
        changed = {
            path: layer for path, layer in present.items() if layer is not self._linears[path]
        }
        return Prepared(given, block_calls(self.transformer, *given), changed)

    def start(self, latents: torch.Tensor, conditions: Prepared) -> BlockState:
        if latents is conditions.given[0]:
            return BlockState(conditions.calls[0].state)
        return BlockState(block_calls(self.transformer, latents, *conditions.given[1:])[0].state)

    def input(self, at: int, state: BlockState, conditions: Prepared) -> torch.Tensor:
        seen: list[torch.Tensor] = []

        def watch(x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            raise _Seen

        try:
            self._execute(self._blocks[at], state.tensors, conditions, (*state.pending, watch))
        except _Seen:
            return seen[0]
        raise AssertionError(f"block {self._blocks[at]} did not call the layers of stage {at}")

    def run(self, at: int, state: BlockState, conditions: Prepared, layer: Layer) -> BlockState:
        pending = (*state.pending, layer)
        if at + 1 not in self._starts:
            return BlockState(state.tensors, pending)
        return BlockState(self._execute(self._blocks[at], state.tensors, conditions, pending))

    def executed(self, at: int) -> range:
        if at + 1 not in self._starts:
            return range(at, at)
        return range(self._blocks.index(self._blocks[at]), at + 1)

    def finish(self, state: BlockState, conditions: Prepared) -> torch.Tensor:
        copies = len(state) // len(conditions.given[0])
        given = (_repeated(part, copies) for part in conditions.given)
        return finish(self.transformer, state.tensors, *given)

    def _execute(
        self, block: int, tensors: Activations, conditions: Prepared, layers: Sequence[Layer]
    ) -> Activations:
        """Run a block with ``layers``, one for each of its first stages, in place of its own."""
        first = self._blocks.index(block)
        pairs: list[tuple[nn.Module, Callable[..., Any]]] = []
        for group, layer in zip(self.stages[first:], layers, strict=False):
            pairs += self._parts(group, layer)
        pairs += [(self._linears[path], layer) for path, layer in conditions.fixed.items()]
        copies = len(next(iter(tensors.values()))) // len(conditions.given[0])
        rest = conditions.calls[block].map(partial(_repeated, copies=copies)).rest
        with replaced_forwards(pairs), replaced_attention(self.attend):
            return run_block(self.transformer, BlockCall(tensors, rest), self._modules[block])

    def _parts(self, group: Group, layer: Layer) -> list[tuple[nn.Module, Callable[..., Any]]]:
        """Return a function for each linear layer of ``group``: its part of one output."""
        linears = [self._linears[path] for path in group.layers]
        if len(linears) == 1:
            return [(linears[0], layer)]
        widths = [linear.out_features for linear in linears]
        kept: dict[str, Any] = {}

        def part(number: int, x: torch.Tensor) -> torch.Tensor:
            if kept.get("input") is not x:
                kept.update(input=x, parts=layer(x).split(widths, -1))
            found = kept["parts"][number]
            if number == len(widths) - 1:
                kept.clear()  # diffusers calls the layers in this order: free the memory
            return found

        return [(linear, partial(part, number)) for number, linear in enumerate(linears)]


class _Seen(Exception):
    """Ends the run of a block whose rest is not needed."""


def _repeated(x: torch.Tensor, copies: int) -> torch.Tensor:
    """Return x (n, ...) ``copies`` times, one after another."""
    return x if copies == 1 else x.repeat(copies, *[1] * (x.dim() - 1))
