"""What the harness must know of a family of transformers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    import torch

    from .chain import Attention, Chain


class BlockLayout(NamedTuple):
    """A transformer block: the ``path`` of its module, and layers in the order of a forward.

    ``layers`` are module paths inside the block by kind of group, such as ``attn.qkv``. Layers of
    one kind share one input and one precision.
    """

    path: str
    layers: Mapping[str, tuple[str, ...]]


class AttentionProducts(NamedTuple):
    """Both products of one attention module at ``path``, in one forward of one image.

    ``width`` is that of all heads together; ``queries`` and ``keys`` are numbers of tokens.
    """

    path: str
    heads: int
    width: int
    queries: int
    keys: int


@dataclass(frozen=True)
class FixedLayers:
    """What a count calls the parameters outside groups, by module path.

    ``kinds`` names each; ``per_token`` are kinds that multiply every token, ``no_macs`` those that
    multiply nothing, ``copies`` prefixes of modules whose weights another module has too.
    """

    kinds: Mapping[str, str]
    per_token: Sequence[str] = ()
    no_macs: Sequence[str] = ("norm",)
    copies: Sequence[str] = ()


class Architecture(ABC):
    """A family of transformers: its layout, and its arithmetic block by block.

    ``classes`` are the values of ``_class_name`` in configurations; ``fixed_kinds`` the kinds of
    groups that no search touches.
    """

    classes: ClassVar[tuple[str, ...]]
    fixed_kinds: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def transformer_class(self) -> Any:
        """Return the class of diffusers, imported when it is asked for."""

    @abstractmethod
    def blocks(self, transformer: Any) -> list[BlockLayout]:
        """Return the blocks in the order of a forward."""

    @abstractmethod
    def rows(self, transformer: Any, kind: str) -> int:
        """Return the rows that a layer of this kind multiplies in one forward of one image."""

    @abstractmethod
    def attention(self, transformer: Any) -> Iterator[AttentionProducts]:
        """Yield the attention products of all blocks."""

    @abstractmethod
    def fixed_layers(self, transformer: Any) -> FixedLayers:
        """Return what a count calls the modules outside groups."""

    @abstractmethod
    def forward(
        self, transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """Return the output (n, channels, h, w) of latents (n, c, h, w), times and classes (n,)."""

    @abstractmethod
    def first_hidden(self, transformer: Any, latents: torch.Tensor) -> torch.Tensor:
        """Return the input (n, tokens, width) of the first block."""

    @abstractmethod
    def run_block(
        self, block: Any, hidden: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """Return the output (n, tokens, width) of the module ``block``."""

    @abstractmethod
    def chain(self, transformer: Any, attend: Attention) -> Chain:
        """Return the stages of ``transformer``, one for each searchable group."""
