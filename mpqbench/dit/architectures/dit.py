"""Class-conditional DiT (arXiv 2212.09748): diffusers' ``DiTTransformer2DModel``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.errors import BenchError
from ..architecture import Architecture, AttentionProducts, FixedLayers, Forward
from ..part_configs import DiTConfig

if TYPE_CHECKING:
    import torch

    from ...core.protocol import Protocol
    from ..chain import Attention, Chain

_LAYERS = {
    "adaln": ("norm1.linear",),
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.out": ("attn1.to_out.0",),
    "mlp.up": ("ff.net.0.proj",),
    "mlp.down": ("ff.net.2",),
}
_EMBEDDER = "transformer_blocks.0.norm1.emb"
_FIXED = {
    "pos_embed.proj": "embed.patch",
    f"{_EMBEDDER}.timestep_embedder.linear_1": "embed.time",
    f"{_EMBEDDER}.timestep_embedder.linear_2": "embed.time",
    f"{_EMBEDDER}.class_embedder.embedding_table": "embed.label",
    "proj_out_1": "final.adaln",
    "proj_out_2": "final.linear",
}


class _Arithmetic(NamedTuple):
    frequency_shift: int  # denominator of the time frequencies is half the channels minus this
    mlp_norm_epsilon: float | None  # None: that of the configuration
    guided_channels: int | None  # None: all latent channels


# Of the original DiT or of diffusers: docs/conventions.md lists the differences with their sources.
ARITHMETIC = {"original": _Arithmetic(0, 1e-6, 3), "diffusers": _Arithmetic(1, None, None)}


class DiT(Architecture):
    """Blocks of self-attention and an MLP, each modulated by time and class (adaLN-Zero)."""

    classes = ("DiTTransformer2DModel", "Transformer2DModel")
    pipelines = ("DiTPipeline",)
    schedulers = ("DDIMScheduler", "DDPMScheduler")
    config = DiTConfig
    layers = _LAYERS
    shifts_latents = False
    usual_guidance = 1.5  # of the published FID (arXiv 2212.09748, Table 2)

    def attention(self, transformer: Any) -> Iterator[AttentionProducts]:
        tokens = self.image_tokens(transformer)
        for number, block in enumerate(transformer.transformer_blocks):
            path, width = f"transformer_blocks.{number}.attn1", block.attn1.to_q.out_features
            yield AttentionProducts(path, block.attn1.heads, width, tokens, tokens)

    def fixed_layers(self, transformer: Any) -> FixedLayers:
        # diffusers keeps a copy of the time and label embedder in every block.
        count = len(transformer.transformer_blocks)
        copies = tuple(f"transformer_blocks.{number}.norm1.emb." for number in range(1, count))
        per_token = ("embed.patch", "final.linear")
        return FixedLayers(_FIXED, per_token, ("embed.label", "norm"), copies)

    def forward(
        self, transformer: Any, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        return transformer(latents, times, classes).sample

    def conditions(self, transformer: Any) -> int:
        return int(transformer.config.num_embeds_ada_norm)

    def configure(self, transformer: Any, protocol: Protocol) -> None:
        """Set the time frequencies and the epsilon of the norm before every block's MLP."""
        arithmetic = ARITHMETIC[protocol.convention]
        epsilon = arithmetic.mlp_norm_epsilon or transformer.config.norm_eps
        for block in transformer.transformer_blocks:
            block.norm1.emb.time_proj.downscale_freq_shift = arithmetic.frequency_shift
            block.norm3.eps = epsilon

    def guided_channels(self, convention: str) -> int | None:
        return ARITHMETIC[convention].guided_channels

    def repeated(self, transformer: Any) -> Forward:
        """Return a forward that computes what times and classes decide once for each of them.

        A subclass with a forward of its own keeps that forward.
        """
        from .dit_forward import DiTForward, is_plain

        if type(self).forward is DiT.forward and is_plain(transformer):
            return DiTForward(transformer)
        return super().repeated(transformer)

    def fused(self, transformer: Any) -> Forward | None:
        """Return a forward through kernels of a processor, in float32.

        Raises BenchError where these were not built.
        """
        import torch

        from .. import native
        from .dit_forward import DiTForward, KernelChain, is_plain

        kind = transformer.device.type, transformer.dtype
        own = type(self).forward is DiT.forward and is_plain(transformer)
        if not own or kind != ("cpu", torch.float32):
            return None
        if native.library() is None:
            raise BenchError(
                "--compile: the kernels of mpqbench were not built: install mpqbench again where "
                "there is a C++ compiler, or leave the option out"
            )
        return DiTForward(transformer, KernelChain)

    def own_chain(self, transformer: Any, attend: Attention) -> Chain:
        from .dit_chain import DiTChain

        return DiTChain(transformer, attend)
