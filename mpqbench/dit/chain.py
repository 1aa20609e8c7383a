"""A transformer as a chain of stages, one for each searchable group, in the order of a forward.

When a layer changes, only its stage and later ones need to run again, and the inputs of several
candidates pass through unchanged stages together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import torch

Layer = Callable[[torch.Tensor], torch.Tensor]  # input (n, tokens, in) to output (n, tokens, out)
# Queries, keys and values (n, heads, tokens, d), and a mask or None, to the mixed values.
Attention = Callable[..., torch.Tensor]
Conditions = Any  # whatever a chain keeps of latents, times and classes


class State(Protocol):
    """Activations between two stages, for one or several inputs."""

    def __len__(self) -> int:
        """Return the number of inputs."""

    @property
    def bytes(self) -> int:
        """Memory of the tensors."""

    def rows(self, at: torch.Tensor) -> Self:
        """Select the inputs at indices ``at`` (k,)."""

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Concatenate the inputs of several states at one boundary."""


class Chain(ABC):
    """The stages of ``transformer``; attention products are made by ``attend``.

    A state may hold a multiple of the inputs that the conditions are for: candidate after
    candidate, each with the same inputs in the same order.
    """

    def __init__(self, transformer: Any, attend: Attention) -> None:
        self.transformer, self.attend = transformer, attend

    @property
    @abstractmethod
    def boundaries(self) -> Sequence[int]:
        """The stages before which a state can be kept and concatenated, and the number of stages.

        Between two boundaries a state may consist of layers that have not run yet.
        """

    @property
    @abstractmethod
    def block_starts(self) -> Sequence[int]:
        """The first stage of every block, and the number of stages."""

    @abstractmethod
    def conditions(
        self, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> Conditions:
        """Prepare for inputs (n, c, h, w) at times and classes (n,), with the present adaLN layers.

        Layers of groups that no search touches may be quantized in the transformer for the time of
        this call; the stages go on with them.
        """

    @abstractmethod
    def start(self, latents: torch.Tensor, conditions: Conditions) -> Any:
        """Return the state of latents (n, c, h, w) before the first stage."""

    @abstractmethod
    def input(self, at: int, state: Any, conditions: Conditions) -> torch.Tensor:
        """Return the input (n, tokens, in) of the layers of stage ``at``."""

    @abstractmethod
    def run(self, at: int, state: Any, conditions: Conditions, layer: Layer) -> Any:
        """Run stage ``at`` with ``layer`` in the place of its linear layers.

        The layer returns the outputs of the stage's linear layers side by side.
        """

    @abstractmethod
    def executed(self, at: int) -> range:
        """Return the stages whose layers ``run`` executes when it is called for stage ``at``."""

    @abstractmethod
    def finish(self, state: Any, conditions: Conditions) -> torch.Tensor:
        """Compute the output (n, channels, h, w) after the last stage."""
