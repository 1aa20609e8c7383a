"""What the harness must know of a family of transformers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..core.errors import BenchError
from .part_configs import TransformerConfig

if TYPE_CHECKING:
    import torch

    from ..core.protocol import Protocol
    from .chain import Attention, Chain
    from .prompts import PromptRows


# Latents (n, c, h, w), times and classes (n,) to outputs (n, channels, h, w).
Forward = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]

FLOW_SCHEDULER = "FlowMatchEulerDiscreteScheduler"
_OF_PROMPT = ("cross.kv", "embed.context")  # kinds that multiply the tokens of the prompt


class BlockLayout(NamedTuple):
    """A transformer block: the ``path`` of its module, and layers in the order of a forward.

    ``layers`` are module paths inside the block by kind of group, such as ``attn.qkv``. Layers of
    one kind share one input and one precision. ``rows`` are those of ``Architecture.rows`` by kind,
    where this block has others.
    """

    path: str
    layers: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, int] = MappingProxyType({})


class AttentionProducts(NamedTuple):
    """Both products of one attention module at ``path``, in one forward of one image.

    ``width`` is that of all heads together; ``queries`` and ``keys`` are numbers of tokens. The
    products of ``linear`` attention (arXiv 2410.10629) are values times keys, over all tokens and
    with a row of ones below the values, and the result times queries.
    """

    path: str
    heads: int
    width: int
    queries: int
    keys: int
    linear: bool = False

    @property
    def macs(self) -> dict[str, int]:
        """MACs of the two products, by kind of operator."""
        if not self.linear:
            return dict.fromkeys(("attn.qk", "attn.av"), self.queries * self.keys * self.width)
        each = self.width * (self.width // self.heads + 1)  # of one token
        return {"attn.kv": each * self.keys, "attn.q": each * self.queries}


@dataclass(frozen=True)
class FixedLayers:
    """What a count calls the parameters outside groups, by module path.

    ``kinds`` names each, the transformer's own parameters under the empty path. ``per_token`` are
    kinds that multiply as many rows as ``Architecture.rows`` says, others one row; ``no_macs``
    those that multiply nothing, ``copies`` prefixes of modules whose weights another has too.
    """

    kinds: Mapping[str, str]
    per_token: Sequence[str] = ()
    no_macs: Sequence[str] = ("norm",)
    copies: Sequence[str] = ()


class PromptShape(NamedTuple):
    """What a transformer takes of a prompt: ``tokens`` embeddings of ``width`` numbers.

    ``tokens`` is what the pipeline pads to. ``pooled`` is the width of one more embedding, ``None``
    where there is none; ``masked`` says whether padding is masked.
    """

    tokens: int
    width: int
    pooled: int | None = None
    masked: bool = False


class Architecture(ABC):
    """A family of transformers: its layout, and its arithmetic block by block.

    ``classes`` are the values of ``_class_name`` in configurations, diffusers' own first.
    ``pipelines``, ``autoencoder`` and ``schedulers`` are the classes of the pipelines and of the
    parts beside the transformer, as diffusers names them. ``config`` checks the configuration of
    the transformer. ``shifts_latents`` says whether the pipelines heed the autoencoder's
    ``shift_factor``.

    ``layers`` are those of ``BlockLayout`` where all blocks are alike. ``fixed_kinds`` are the
    kinds of groups that no search touches. ``results`` names the arguments of a block that the
    results of the block before take the place of, in the order of the results.

    ``even_levels`` says whether the pipeline gives flow matching evenly spaced noise levels in
    place of evenly spaced times; ``null_condition`` whether guidance evaluates a null condition.
    ``usual_guidance`` is that of a protocol which leaves guidance open.
    ``time_scale`` is what diffusers' class takes for a time of 1, where times are 0 to 1,000.
    """

    classes: ClassVar[tuple[str, ...]]
    pipelines: ClassVar[tuple[str, ...]]
    schedulers: ClassVar[tuple[str, ...]]
    config: ClassVar[type[TransformerConfig]]
    autoencoder: ClassVar[str] = "AutoencoderKL"
    shifts_latents: ClassVar[bool] = True
    layers: ClassVar[Mapping[str, tuple[str, ...]]]
    fixed_kinds: ClassVar[frozenset[str]] = frozenset({"adaln"})
    results: ClassVar[tuple[str, ...]] = ("hidden_states",)
    even_levels: ClassVar[bool] = False
    null_condition: ClassVar[bool] = True
    usual_guidance: ClassVar[float] = 4.5  # PixArt, Sana; SD3.5-medium's card
    time_scale: ClassVar[float] = 1.0

    @property
    def is_flow(self) -> bool:
        """Whether the transformer predicts velocities, for flow matching."""
        return FLOW_SCHEDULER in self.schedulers

    def transformer_class(self) -> Any:
        """Return the class of diffusers, imported when it is asked for."""
        import diffusers

        return getattr(diffusers, self.classes[0])

    def blocks(self, transformer: Any) -> list[BlockLayout]:
        """Return the blocks in the order of a forward."""
        count = len(transformer.transformer_blocks)
        return [BlockLayout(f"transformer_blocks.{number}", self.layers) for number in range(count)]

    def rows(self, transformer: Any, kind: str) -> int:
        """Return the rows that a layer of this kind multiplies in one forward of one image."""
        if kind in self.fixed_kinds:
            return 1
        if kind.startswith("context.") or kind in _OF_PROMPT:
            return self.prompt_tokens(transformer)
        return self.image_tokens(transformer)

    def image_tokens(self, transformer: Any) -> int:
        """Return the tokens of an image: the patches of its latent."""
        return int((self.latent_side(transformer) // transformer.config.patch_size) ** 2)

    @abstractmethod
    def attention(self, transformer: Any) -> Iterator[AttentionProducts]:
        """Yield the attention products of all blocks."""

    def quantized_attention(self, transformer: Any) -> list[AttentionProducts]:
        """Return the attention products whose operands can be quantized, which is all or none.

        Raises BenchError for linear attention.
        """
        found = list(self.attention(transformer))
        for products in found:
            if products.linear:
                raise BenchError(
                    f"attention_bits must be left out: {products.path} is linear attention, whose "
                    "products cannot be quantized"
                )
        return found

    @abstractmethod
    def fixed_layers(self, transformer: Any) -> FixedLayers:
        """Return what a count calls the modules outside groups."""

    @abstractmethod
    def forward(
        self, transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """Return the output (n, channels, h, w) of latents (n, c, h, w), times and classes (n,)."""

    def repeated(self, transformer: Any) -> Forward:
        """Return ``forward`` of a transformer that does not change, without gradients."""
        return partial(self.forward, transformer)

    def fused(self, transformer: Any) -> Forward | None:
        """Return ``repeated`` through compiled kernels of one's own, which may change last bits.

        ``None`` where there are none, and torch.compile has to make such a forward.
        """
        return None

    def adapt(self, transformer: Any) -> None:  # noqa: B027 (most change nothing)
        """Change a transformer that was just built, in place."""

    def configure(self, transformer: Any, protocol: Protocol) -> None:  # noqa: B027
        """Set what a protocol says of the arithmetic, in place."""

    def own_guidance(self, config: Mapping[str, Any]) -> float:
        """Return the guidance that is usual for a transformer of this configuration."""
        return self.usual_guidance

    def embeds_guidance(self, transformer: Any) -> bool:
        """Return whether the transformer is told the guidance, and runs once a step."""
        return False

    def guided_channels(self, convention: str) -> int | None:
        """Return how many of the first latent channels guidance acts on; ``None`` for all."""
        return None

    def prompt_shape(self, transformer: Any) -> PromptShape | None:
        """Return what the transformer takes of a prompt; ``None`` for conditions that are none."""
        return None

    def encode(self, pipeline: Any, texts: list[str]) -> PromptRows:
        """Return the embeddings of prompts that the text encoders of ``pipeline`` make."""
        raise BenchError(f"a {self.classes[0]} is conditioned on classes: it takes no --prompts")

    def prompt_tokens(self, transformer: Any) -> int:
        """Return the tokens of a prompt: those of the given prompts, else what is usual."""
        from .prompts import given_prompts

        table, shape = given_prompts(transformer), self.prompt_shape(transformer)
        return table.tokens if table is not None else shape.tokens if shape is not None else 0

    def conditions(self, transformer: Any) -> int:
        """Return the number of conditions (classes or prompts) without the null condition."""
        from .prompts import prompts_of

        return len(prompts_of(transformer))

    def latent_shape(self, transformer: Any) -> tuple[int, int, int]:
        """Return (channels, height, width) of one latent."""
        side = self.latent_side(transformer)
        return transformer.config.in_channels, side, side

    def latent_side(self, transformer: Any) -> int:
        """Return height and width of a latent: those that were set, else the transformer's own."""
        return int(vars(transformer).get("latent_side") or self.own_side(transformer))

    def own_side(self, transformer: Any) -> int:
        """Return height and width of a latent where nothing else is asked for."""
        return int(transformer.config.sample_size)

    def latent_sides(self, transformer: Any) -> range:
        """Return the heights and widths that latents may have, by default the one of its own."""
        own = self.own_side(transformer)
        return range(own, own + 1)

    def output_channels(self, transformer: Any) -> int:
        """Return the channels of the output: twice the latent's with a learned variance."""
        config = transformer.config
        return int(config.out_channels or config.in_channels)

    def own_chain(self, transformer: Any, attend: Attention) -> Chain | None:
        """Return a chain that keeps more states than those between blocks; ``None`` without one."""
        return None
