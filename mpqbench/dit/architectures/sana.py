"""Sana (arXiv 2410.10629, 2501.18427): diffusers' ``SanaTransformer2DModel``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..architecture import (
    FLOW_SCHEDULER,
    Architecture,
    AttentionProducts,
    FixedLayers,
    PromptShape,
)
from ..part_configs import SanaConfig
from .pixart import LAYERS as PIXART_LAYERS

if TYPE_CHECKING:
    import torch

    from ..prompts import PromptRows

USUAL_TOKENS = 300  # of Gemma 2, as SanaPipeline pads to

LAYERS = PIXART_LAYERS | {
    "mlp.up": ("ff.conv_inverted.linear",),
    "mlp.down": ("ff.conv_point.linear",),
}
_POINTWISE = ("conv_inverted", "conv_point")
_FIXED = {
    "": "modulation",
    "patch_embed.proj": "embed.patch",
    "time_embed.emb.timestep_embedder.linear_1": "embed.time",
    "time_embed.emb.timestep_embedder.linear_2": "embed.time",
    "time_embed.linear": "embed.adaln",
    "caption_projection.linear_1": "embed.context",
    "caption_projection.linear_2": "embed.context",
    "proj_out": "final.linear",
}


class Sana(Architecture):
    """Blocks of linear self-attention, cross-attention to the prompt and a mix-FFN.

    A mix-FFN is a gated MLP with a depthwise convolution in between; its convolutions of one pixel
    are linear layers here. adaLN-single is that of PixArt.
    """

    classes = ("SanaTransformer2DModel",)
    pipelines = ("SanaPipeline",)
    schedulers = ("DPMSolverMultistepScheduler", FLOW_SCHEDULER)
    config = SanaConfig
    layers = LAYERS
    autoencoder = "AutoencoderDC"

    def adapt(self, transformer: Any) -> None:
        """Make linear layers of the convolutions of one pixel, with the same weights."""
        from .pointwise import Pointwise

        for block in transformer.transformer_blocks:
            for name in _POINTWISE:
                setattr(block.ff, name, Pointwise(getattr(block.ff, name)))

    def attention(self, transformer: Any) -> Iterator[AttentionProducts]:
        image, prompt = self.image_tokens(transformer), self.prompt_tokens(transformer)
        for number, block in enumerate(transformer.transformer_blocks):
            path, own, cross = f"transformer_blocks.{number}", block.attn1, block.attn2
            width, cross_width = own.to_q.out_features, cross.to_q.out_features
            yield AttentionProducts(f"{path}.attn1", own.heads, width, image, image, linear=True)
            yield AttentionProducts(f"{path}.attn2", cross.heads, cross_width, image, prompt)

    def fixed_layers(self, transformer: Any) -> FixedLayers:
        paths = [f"transformer_blocks.{n}" for n in range(len(transformer.transformer_blocks))]
        kinds = _FIXED | dict.fromkeys(paths, "modulation")
        kinds |= {f"{path}.ff.conv_depth": "mlp.depthwise" for path in paths}
        several = ("embed.patch", "embed.context", "mlp.depthwise", "final.linear")
        return FixedLayers(kinds, several, ("modulation", "norm"))

    def prompt_shape(self, transformer: Any) -> PromptShape:
        return PromptShape(USUAL_TOKENS, transformer.config.caption_channels, masked=True)

    def encode(self, pipeline: Any, texts: list[str]) -> PromptRows:
        """Return what the stock pipeline makes of ``texts``.

        It puts an instruction before a prompt, and none before the empty prompt.
        """
        import torch

        from ..prompts import PromptRows

        call = inspect.signature(type(pipeline).__call__).parameters
        instruction = call["complex_human_instruction"].default
        given = {"do_classifier_free_guidance": False, "device": "cpu"}
        parts = [
            pipeline.encode_prompt(
                text, **given, complex_human_instruction=instruction if text else None
            )
            for text in texts
        ]
        embeddings, masks = (torch.cat([part[at] for part in parts]) for at in (0, 1))
        return PromptRows(embeddings.float(), None, masks)

    def forward(
        self, transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        from ..prompts import prompts_of

        prompts = prompts_of(transformer).rows(classes, latents)
        return transformer(
            hidden_states=latents,
            encoder_hidden_states=prompts.embeddings,
            timestep=times,
            encoder_attention_mask=prompts.mask,
            return_dict=False,
        )[0]
