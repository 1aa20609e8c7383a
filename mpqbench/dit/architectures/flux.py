"""FLUX.1 (Black Forest Labs, 2024): diffusers' ``FluxTransformer2DModel``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...core.errors import BenchError
from ..architecture import (
    FLOW_SCHEDULER,
    Architecture,
    AttentionProducts,
    BlockLayout,
    FixedLayers,
    PromptShape,
)
from ..part_configs import FluxConfig
from .mmdit import ATTENTION, CONTEXT_MLP, MLP

if TYPE_CHECKING:
    import torch

    from ...core.protocol import Protocol
    from ..prompts import PromptRows

USUAL_TOKENS = 512  # of T5, as FluxPipeline makes them
_PATCH = 2  # the pipeline packs 2 x 2 latents into one token
_USUAL_SIDE, _LARGEST_SIDE = 128, 512  # of latents: images of 1,024 and 4,096 pixels a side

_DOUBLE: dict[str, tuple[str, ...]] = {
    "adaln": ("norm1.linear", "norm1_context.linear"),
    **ATTENTION,
    "attn.out": ("attn.to_out.0",),
    "context.out": ("attn.to_add_out",),
    **MLP,
    **CONTEXT_MLP,
}
_SINGLE = {
    "adaln": ("norm.linear",),
    "mlp.up": ("proj_mlp",),
    "attn.qkv": ATTENTION["attn.qkv"],
    "single.out": ("proj_out",),
}
_FIXED = {
    "x_embedder": "embed.patch",
    "context_embedder": "embed.context",
    "time_text_embed.timestep_embedder.linear_1": "embed.time",
    "time_text_embed.timestep_embedder.linear_2": "embed.time",
    "time_text_embed.guidance_embedder.linear_1": "embed.guidance",
    "time_text_embed.guidance_embedder.linear_2": "embed.guidance",
    "time_text_embed.text_embedder.linear_1": "embed.prompt",
    "time_text_embed.text_embedder.linear_2": "embed.prompt",
    "norm_out.linear": "final.adaln",
    "proj_out": "final.linear",
}


class Flux(Architecture):
    """Double blocks with a stream of the image and one of the prompt, then single blocks.

    A single block has one set of weights for both streams, and adds its attention and its MLP
    through one output layer. Positions are rotary, so an image may have any size. FLUX.1-dev is
    told the guidance; FLUX.1-schnell has none.
    """

    classes = ("FluxTransformer2DModel",)
    pipelines = ("FluxPipeline",)
    schedulers = (FLOW_SCHEDULER,)
    config = FluxConfig
    results = ("encoder_hidden_states", "hidden_states")
    even_levels = True
    null_condition = False
    time_scale = 1 / 1000

    def blocks(self, transformer: Any) -> list[BlockLayout]:
        both = self.image_tokens(transformer) + self.prompt_tokens(transformer)
        rows = {kind: both for kind in _SINGLE if kind != "adaln"}
        double, single = len(transformer.transformer_blocks), transformer.single_transformer_blocks
        return [
            *(BlockLayout(f"transformer_blocks.{number}", _DOUBLE) for number in range(double)),
            *(
                BlockLayout(f"single_transformer_blocks.{number}", _SINGLE, rows)
                for number in range(len(single))
            ),
        ]

    def attention(self, transformer: Any) -> Iterator[AttentionProducts]:
        both = self.image_tokens(transformer) + self.prompt_tokens(transformer)
        for block in self.blocks(transformer):
            path = f"{block.path}.attn"
            attention = transformer.get_submodule(path)
            width = attention.to_q.out_features
            yield AttentionProducts(path, attention.heads, width, both, both)

    def fixed_layers(self, transformer: Any) -> FixedLayers:
        return FixedLayers(_FIXED, ("embed.patch", "embed.context", "final.linear"))

    def prompt_shape(self, transformer: Any) -> PromptShape:
        config = transformer.config
        return PromptShape(USUAL_TOKENS, config.joint_attention_dim, config.pooled_projection_dim)

    def encode(self, pipeline: Any, texts: list[str]) -> PromptRows:
        from ..prompts import PromptRows

        embeddings, pooled, _ = pipeline.encode_prompt(texts, texts, device="cpu")
        return PromptRows(embeddings.float(), pooled.float(), None)

    def configure(self, transformer: Any, protocol: Protocol) -> None:
        """Set the guidance that a forward tells the transformer.

        Raises BenchError for guidance where the transformer takes none.
        """
        guidance = protocol.guidance
        if guidance is None:
            guidance = self.own_guidance(transformer.config)
        if self.embeds_guidance(transformer):
            transformer.guidance = float(guidance)
        elif guidance != 1.0:
            raise BenchError(
                f"guidance {guidance:g} is not for this transformer, which takes none "
                "(guidance_embeds is false): give guidance: 1 in the protocol, or --guidance 1"
            )

    def own_guidance(self, config: Mapping[str, Any]) -> float:
        """Return 3.5, as FluxPipeline does, or 1 where none is embedded."""
        return 3.5 if config.get("guidance_embeds") else 1.0

    def embeds_guidance(self, transformer: Any) -> bool:
        return bool(transformer.config.guidance_embeds)

    def latent_shape(self, transformer: Any) -> tuple[int, int, int]:
        side = self.latent_side(transformer)
        return transformer.config.in_channels // _PATCH**2, side, side

    def own_side(self, transformer: Any) -> int:
        return _USUAL_SIDE

    def latent_sides(self, transformer: Any) -> range:
        return range(_PATCH, _LARGEST_SIDE + 1, _PATCH)

    def output_channels(self, transformer: Any) -> int:
        return int(transformer.config.in_channels // _PATCH**2)

    def forward(
        self, transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        import torch.nn.functional as F

        from ..prompts import prompts_of

        prompts, times = prompts_of(transformer).rows(classes, latents), times.float()
        height, width = (size // _PATCH for size in latents.shape[2:])
        guidance = None
        if self.embeds_guidance(transformer):
            guidance = times.new_full((len(times),), transformer.guidance)
        packed = F.pixel_unshuffle(latents, _PATCH).flatten(2).transpose(1, 2)
        output = transformer(
            hidden_states=packed,
            timestep=times * self.time_scale,
            guidance=guidance,
            encoder_hidden_states=prompts.embeddings,
            pooled_projections=prompts.pooled,
            txt_ids=times.new_zeros((prompts.embeddings.shape[1], 3)),
            img_ids=_positions(height, width, times),
            return_dict=False,
        )[0]
        grid = output.transpose(1, 2).unflatten(2, (height, width))
        return F.pixel_shuffle(grid, _PATCH)

    def image_tokens(self, transformer: Any) -> int:
        return (self.latent_side(transformer) // _PATCH) ** 2


def _positions(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Return the places (height x width, 3) of image tokens: 0, row and column."""
    import torch

    rows, columns = (torch.arange(size).to(like) for size in (height, width))
    return torch.cartesian_prod(like.new_zeros(1), rows, columns)
