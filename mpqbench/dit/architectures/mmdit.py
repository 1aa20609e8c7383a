"""MMDiT (arXiv 2403.03206): diffusers' ``SD3Transformer2DModel``, of SD3 and SD3.5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..architecture import (
    FLOW_SCHEDULER,
    Architecture,
    AttentionProducts,
    BlockLayout,
    FixedLayers,
    PromptShape,
)
from ..part_configs import MMDiTConfig

if TYPE_CHECKING:
    import torch

    from ..prompts import PromptRows

USUAL_TOKENS = 333  # 77 of CLIP and 256 of T5, as StableDiffusion3Pipeline makes them

ATTENTION = {
    "attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
DUAL = {
    "attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "attn2.out": ("attn2.to_out.0",),
}
MLP = {"mlp.up": ("ff.net.0.proj",), "mlp.down": ("ff.net.2",)}
CONTEXT_MLP = {"context.up": ("ff_context.net.0.proj",), "context.down": ("ff_context.net.2",)}
_FIXED = {
    "pos_embed.proj": "embed.patch",
    "time_text_embed.timestep_embedder.linear_1": "embed.time",
    "time_text_embed.timestep_embedder.linear_2": "embed.time",
    "time_text_embed.text_embedder.linear_1": "embed.prompt",
    "time_text_embed.text_embedder.linear_2": "embed.prompt",
    "context_embedder": "embed.context",
    "norm_out.linear": "final.adaln",
    "proj_out": "final.linear",
}


class MMDiT(Architecture):
    """Two streams, of the image and of the prompt, that attend jointly; each has its own weights.

    In the last block the stream of the prompt ends with the attention. Blocks of SD3.5 may have a
    second attention of the image alone (``attn2``).
    """

    classes = ("SD3Transformer2DModel",)
    pipelines = ("StableDiffusion3Pipeline",)
    schedulers = (FLOW_SCHEDULER,)
    config = MMDiTConfig
    results = ("encoder_hidden_states", "hidden_states")

    def blocks(self, transformer: Any) -> list[BlockLayout]:
        return [
            BlockLayout(f"transformer_blocks.{number}", _layers(block))
            for number, block in enumerate(transformer.transformer_blocks)
        ]

    def attention(self, transformer: Any) -> Iterator[AttentionProducts]:
        image = self.image_tokens(transformer)
        both = image + self.prompt_tokens(transformer)
        for number, block in enumerate(transformer.transformer_blocks):
            path, width = f"transformer_blocks.{number}", block.attn.to_q.out_features
            yield AttentionProducts(f"{path}.attn", block.attn.heads, width, both, both)
            if block.attn2 is not None:
                heads = block.attn2.heads
                yield AttentionProducts(f"{path}.attn2", heads, width, image, image)

    def fixed_layers(self, transformer: Any) -> FixedLayers:
        return FixedLayers(_FIXED, ("embed.patch", "embed.context", "final.linear"))

    def latent_sides(self, transformer: Any) -> range:
        patch, most = transformer.config.patch_size, transformer.config.pos_embed_max_size
        return range(patch, patch * most + 1, patch)

    def prompt_shape(self, transformer: Any) -> PromptShape:
        config = transformer.config
        return PromptShape(USUAL_TOKENS, config.joint_attention_dim, config.pooled_projection_dim)

    def encode(self, pipeline: Any, texts: list[str]) -> PromptRows:
        from ..prompts import PromptRows

        given: dict[str, Any] = {"prompt_2": texts, "prompt_3": texts, "device": "cpu"}
        given["do_classifier_free_guidance"] = False
        embeddings, _, pooled, _ = pipeline.encode_prompt(texts, **given)
        return PromptRows(embeddings.float(), pooled.float(), None)

    def forward(
        self, transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        from ..prompts import prompts_of

        prompts = prompts_of(transformer).rows(classes, latents)
        return transformer(
            hidden_states=latents,
            timestep=times,
            encoder_hidden_states=prompts.embeddings,
            pooled_projections=prompts.pooled,
            return_dict=False,
        )[0]


def _layers(block: Any) -> dict[str, tuple[str, ...]]:
    """Return the groups of a block in the order in which a forward calls them."""
    layers: dict[str, tuple[str, ...]] = {"adaln": ("norm1.linear", "norm1_context.linear")}
    layers |= ATTENTION
    if not block.context_pre_only:
        layers["context.out"] = ("attn.to_add_out",)
    layers["attn.out"] = ("attn.to_out.0",)
    layers |= DUAL if block.attn2 is not None else {}
    return layers | MLP | ({} if block.context_pre_only else CONTEXT_MLP)
