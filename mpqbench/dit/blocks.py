"""The blocks of a transformer one at a time, inside its own forward.

The forward of diffusers' class runs as it is: while a function here is at work, blocks return what
they are told in place of their own results. Nothing of what comes before the first block or after
the last one is written again.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from .architectures import architecture_of
from .replaced import replaced_forwards

Activations = dict[str, torch.Tensor]  # what blocks hand on, by the name of a block's argument


@dataclass(frozen=True)
class BlockCall:
    """What a block is called with in a forward of n inputs.

    ``state`` are the activations that blocks hand on, such as ``hidden_states`` (n, tokens, width);
    ``rest`` are the other arguments. Every tensor has the inputs on its first axis; anything else
    is the same for all inputs.
    """

    state: Activations
    rest: Mapping[str, Any]

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "BlockCall":
        """Return the call with every tensor changed."""
        state = {name: change(value) for name, value in self.state.items()}
        rest = {k: change(v) if isinstance(v, torch.Tensor) else v for k, v in self.rest.items()}
        return BlockCall(state, rest)

    @property
    def arguments(self) -> dict[str, Any]:
        """All arguments by name."""
        return {**self.state, **self.rest}


def block_calls(
    transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
) -> list[BlockCall]:
    """Return what every block is called with where each hands on what it was given.

    The state of the first call is right, and what is no state is right in all of them.
    """
    architecture, found = architecture_of(transformer), []

    def hand_on(forward: Callable[..., Any], *args: Any, **named: Any) -> Any:
        given = dict(inspect.signature(forward).bind(*args, **named).arguments)
        state = {name: given.pop(name) for name in architecture.results if name in given}
        found.append(BlockCall(state, given))
        return _results(architecture.results, state)

    blocks = block_modules(transformer)
    with replaced_forwards([(block, partial(hand_on, block.forward)) for block in blocks]):
        architecture.forward(transformer, latents, times, classes)
    return found


def block_modules(transformer: Any) -> list[Any]:
    """Return the modules of the blocks in the order of a forward."""
    layouts = architecture_of(transformer).blocks(transformer)
    return [transformer.get_submodule(layout.path) for layout in layouts]


def finish(transformer: Any, state: Activations, *given: torch.Tensor) -> torch.Tensor:
    """Return the output (n, channels, h, w) where the last block hands on ``state``.

    ``given`` are latents, times and classes, for as many inputs as ``state`` has.
    """
    architecture, blocks = architecture_of(transformer), block_modules(transformer)
    results = _results(architecture.results, state)
    with replaced_forwards([(block, lambda *_args, **_named: results) for block in blocks]):
        return architecture.forward(transformer, *given)


def run_block(transformer: Any, call: BlockCall, run: Callable[..., Any]) -> Activations:
    """Return what a block hands on; ``run`` is its module, or a function of its arguments."""
    results = run(**call.arguments)
    names = architecture_of(transformer).results
    several = results if isinstance(results, tuple) else (results,)
    return {n: value for n, value in zip(names, several, strict=True) if value is not None}


def _results(names: Sequence[str], state: Mapping[str, torch.Tensor]) -> Any:
    """Return ``state`` as a block returns it: the one tensor, or a tuple."""
    several = tuple(state.get(name) for name in names)
    return several if len(several) > 1 else several[0]
