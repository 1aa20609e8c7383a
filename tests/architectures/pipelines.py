"""Tiny random pipelines of every architecture, saved as diffusers saves them."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
)
from tiny_pipeline import TINY_VAE

from mpqbench.dit.architectures import architecture_of
from mpqbench.dit.prompt_files import save_prompt_embeddings
from mpqbench.dit.prompts import PromptTable

PROMPTS, TOKENS = 5, 6
VAE = TINY_VAE | {"in_channels": 3, "out_channels": 3, "shift_factor": 0.1, "scaling_factor": 0.7}
MMDIT = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 16,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 24,
    "pos_embed_max_size": 8,
}
PIXART = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "cross_attention_dim": 32,
    "caption_channels": 16,
    "norm_eps": 1e-6,
}
SANA = {
    "sample_size": 8,
    "patch_size": 1,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "cross_attention_head_dim": 16,
    "num_cross_attention_heads": 2,
    "cross_attention_dim": 32,
    "caption_channels": 16,
    "mlp_ratio": 2.0,
    "qk_norm": "rms_norm_across_heads",  # of SANA-1.5
}
DEEP_VAE = {
    "latent_channels": 4,
    "attention_head_dim": 2,
    "encoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
    "decoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
    "encoder_block_out_channels": (4, 4, 8),
    "decoder_block_out_channels": (4, 4, 8),
    "encoder_layers_per_block": (1, 1, 1),
    "decoder_layers_per_block": (1, 1, 1),
    "encoder_qkv_multiscales": ((), (), (5,)),
    "decoder_qkv_multiscales": ((), (), (5,)),
    "upsample_block_type": "interpolate",
    "downsample_block_type": "conv",
    "scaling_factor": 0.41407,
}

ABSENT = {  # of SD3: everything that makes embeddings of prompts
    f"{part}{number}": None for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")
}


def save_mmdit(folder: Path, **changes: object) -> Path:
    """A ``StableDiffusion3Pipeline`` without text encoders."""
    from diffusers import StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(**(MMDIT | changes))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    vae = AutoencoderKL(**VAE)
    return _saved(StableDiffusion3Pipeline(transformer, scheduler, vae, **ABSENT), folder)


FLUX = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 16,
    "pooled_projection_dim": 24,
    "axes_dims_rope": (2, 2, 4),
    "guidance_embeds": True,
}
FLUX_ABSENT = {
    f"{part}{number}": None for part in ("text_encoder", "tokenizer") for number in ("", "_2")
}
# Of a tiny latent, so that dynamic shifting has a shift of its own.
SHIFTING = {"use_dynamic_shifting": True, "base_image_seq_len": 4, "max_image_seq_len": 64}


def save_flux(folder: Path, shifting: dict[str, object] | None = None, **changes: object) -> Path:
    """A ``FluxPipeline`` without text encoders."""
    from diffusers import FluxPipeline

    transformer = FluxTransformer2DModel(**(FLUX | changes))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, **(shifting or {}))
    pipeline = FluxPipeline(scheduler, AutoencoderKL(**VAE), transformer=transformer, **FLUX_ABSENT)
    return _saved(pipeline, folder)


def save_pixart(folder: Path, **changes: object) -> Path:
    """A ``PixArtSigmaPipeline`` without text encoder, with the scheduler of the published one."""
    from diffusers import PixArtSigmaPipeline

    transformer = PixArtTransformer2DModel(**(PIXART | changes))
    vae = AutoencoderKL(**(VAE | {"shift_factor": None}))
    scheduler = DPMSolverMultistepScheduler()
    return _saved(PixArtSigmaPipeline(None, None, vae, transformer, scheduler), folder)


def save_pixart_alpha(folder: Path) -> Path:
    """A ``PixArtAlphaPipeline`` of eight pixels to a latent that is told the size of images."""
    from diffusers import PixArtAlphaPipeline

    # The embeddings of height, width and aspect ratio have a third of the width each.
    wide = {"num_attention_heads": 12, "cross_attention_dim": 96, "num_layers": 1}
    transformer = PixArtTransformer2DModel(**(PIXART | wide), use_additional_conditions=True)
    deep = {"block_out_channels": (4, 4, 4, 8), "shift_factor": None}
    blocks = {f"{way}_block_types": VAE[f"{way}_block_types"] * 2 for way in ("down", "up")}
    vae = AutoencoderKL(**(VAE | deep | blocks))
    scheduler = DPMSolverMultistepScheduler()
    return _saved(PixArtAlphaPipeline(None, None, vae, transformer, scheduler), folder)


def save_sana(folder: Path, **changes: object) -> Path:
    """A ``SanaPipeline`` without text encoder, with the scheduler of the published one."""
    from diffusers import SanaPipeline

    transformer = SanaTransformer2DModel(**(SANA | changes))
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    scheduler = DPMSolverMultistepScheduler(**flow)
    return _saved(
        SanaPipeline(None, None, AutoencoderDC(**DEEP_VAE), transformer, scheduler), folder
    )


SAVED = {
    "mmdit": save_mmdit,
    "mmdit-dual": lambda folder: save_mmdit(folder, dual_attention_layers=(0,), qk_norm="rms_norm"),
    "flux": lambda folder: save_flux(folder, SHIFTING),
    "flux-schnell": lambda folder: save_flux(folder, guidance_embeds=False),
    "pixart": save_pixart,
    "pixart-alpha": save_pixart_alpha,
    "sana": save_sana,
}
UNGUIDED = ("flux-schnell",)  # neither guidance nor an embedding of it
SIZES = {"flux": 16, "flux-schnell": 16}  # pixels of a side, where the model's own is large


def save(name: str, folder: Path) -> tuple[Path, Path]:
    """Save the pipeline called ``name``; return its folder and a file of prompt embeddings."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        SAVED[name](folder)
    return folder, folder / "embeddings.safetensors"


def _saved(pipeline, folder: Path) -> Path:
    """Give every bias and modulation a value: diffusers starts some of them at zero."""
    transformer = pipeline.transformer
    for parameter in transformer.parameters():
        if parameter.abs().max() == 0:
            parameter.data.normal_(std=0.2)
    pipeline.save_pretrained(folder)
    save_prompt_embeddings(folder / "embeddings.safetensors", table_of(transformer))
    return folder


def table_of(transformer, tokens: int = TOKENS) -> PromptTable:
    """Random embeddings of ``PROMPTS`` prompts and of the null prompt."""
    shape = architecture_of(transformer).prompt_shape(transformer)
    rows = PROMPTS + 1
    pooled = None if shape.pooled is None else torch.randn(rows, shape.pooled)
    mask = None
    if shape.masked:
        mask = (torch.arange(tokens) < torch.tensor([tokens, 2, 3, 4, 1, 2])[:, None]).long()
    texts = tuple(f"prompt {number}" for number in range(PROMPTS))
    return PromptTable(torch.randn(rows, tokens, shape.width), texts, pooled, mask)
