"""PixArt-alpha and -Sigma (arXiv 2310.00426, 2403.04692): ``PixArtTransformer2DModel``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..architecture import Architecture, AttentionProducts, FixedLayers, PromptShape
from ..part_configs import PixArtConfig

if TYPE_CHECKING:
    import torch

    from ..prompts import PromptRows

IMAGE_SCALE = 8  # pixels of a latent's side, of the autoencoder that PixArt was trained with
ALPHA_TOKENS, SIGMA_TOKENS = 120, 300  # of T5, as the two pipelines of diffusers pad to

LAYERS = {
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.out": ("attn1.to_out.0",),
    "cross.q": ("attn2.to_q",),
    "cross.kv": ("attn2.to_k", "attn2.to_v"),
    "cross.out": ("attn2.to_out.0",),
    "mlp.up": ("ff.net.0.proj",),
    "mlp.down": ("ff.net.2",),
}
_EMBEDDERS = {"timestep": "time", "resolution": "resolution", "aspect_ratio": "aspect"}
_FIXED = {
    "": "modulation",
    "pos_embed.proj": "embed.patch",
    "adaln_single.linear": "embed.adaln",
    "caption_projection.linear_1": "embed.context",
    "caption_projection.linear_2": "embed.context",
    "proj_out": "final.linear",
} | {
    f"adaln_single.emb.{module}_embedder.linear_{number}": f"embed.{kind}"
    for module, kind in _EMBEDDERS.items()
    for number in (1, 2)
}


class PixArt(Architecture):
    """Blocks of self-attention, cross-attention to the prompt and an MLP.

    One linear layer before the first block makes the modulations of all blocks (adaLN-single);
    each block adds a table of its own.
    """

    classes = ("PixArtTransformer2DModel", "Transformer2DModel")
    pipelines = ("PixArtAlphaPipeline", "PixArtSigmaPipeline")
    schedulers = ("DPMSolverMultistepScheduler", "DDIMScheduler", "DDPMScheduler")
    config = PixArtConfig
    layers = LAYERS
    shifts_latents = False

    def rows(self, transformer: Any, kind: str) -> int:
        is_size = kind == "embed.resolution"
        return 2 if is_size else super().rows(transformer, kind)  # height and width

    def attention(self, transformer: Any) -> Iterator[AttentionProducts]:
        image, prompt = self.image_tokens(transformer), self.prompt_tokens(transformer)
        for number, block in enumerate(transformer.transformer_blocks):
            path, width = f"transformer_blocks.{number}", block.attn1.to_q.out_features
            yield AttentionProducts(f"{path}.attn1", block.attn1.heads, width, image, image)
            yield AttentionProducts(f"{path}.attn2", block.attn2.heads, width, image, prompt)

    def fixed_layers(self, transformer: Any) -> FixedLayers:
        count = len(transformer.transformer_blocks)
        tables = {f"transformer_blocks.{number}": "modulation" for number in range(count)}
        several = ("embed.patch", "embed.resolution", "embed.context", "final.linear")
        return FixedLayers(_FIXED | tables, several, ("modulation", "norm"))

    def prompt_shape(self, transformer: Any) -> PromptShape:
        config = transformer.config
        # Only a model at 1024 x 1024 of PixArt-alpha has additional conditions.
        tokens = ALPHA_TOKENS if transformer.use_additional_conditions else SIGMA_TOKENS
        return PromptShape(
            tokens, config.caption_channels or config.cross_attention_dim, masked=True
        )

    def encode(self, pipeline: Any, texts: list[str]) -> PromptRows:
        """Return what the stock pipeline makes of ``texts`` without ``clean_caption``.

        That cleans where two more packages are installed, and so depends on the machine.
        """
        from ..prompts import PromptRows

        given: dict[str, Any] = {"do_classifier_free_guidance": False, "device": "cpu"}
        embeddings, mask, *_ = pipeline.encode_prompt(texts, **given)
        return PromptRows(embeddings.float(), None, mask)

    def forward(
        self, transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        from ..prompts import prompts_of

        prompts = prompts_of(transformer).rows(classes, latents)
        return transformer(
            hidden_states=latents,
            encoder_hidden_states=prompts.embeddings,
            timestep=times,
            added_cond_kwargs=_size(transformer, latents),
            encoder_attention_mask=prompts.mask,
            return_dict=False,
        )[0]


def _size(transformer: Any, latents: torch.Tensor) -> dict[str, torch.Tensor | None]:
    """Return height, width (n, 2) and aspect ratio (n, 1) of the images where they are told."""
    if not transformer.use_additional_conditions:
        return {"resolution": None, "aspect_ratio": None}
    height, width = (IMAGE_SCALE * side for side in latents.shape[-2:])
    count = len(latents)
    return {
        "resolution": latents.new_tensor([[height, width]]).expand(count, 2),
        "aspect_ratio": latents.new_tensor([[height / width]]).expand(count, 1),
    }
