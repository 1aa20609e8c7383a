"""A tiny random pipeline in the shape of DiT-XL/2, saved as a user would."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

TINY_TRANSFORMER = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "sample_size": 8,
    "patch_size": 2,
    "num_embeds_ada_norm": 3,
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
}
TINY_VAE = {
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (4, 8),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "sample_size": 16,
    "mid_block_add_attention": False,
}


def save_tiny_pipeline(folder: Path, seed: int = 0, **changes: object) -> Path:
    """A random ``DiTPipeline`` in ``folder``; ``changes`` go to the transformer."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = DiTTransformer2DModel(**(TINY_TRANSFORMER | changes))
        vae = AutoencoderKL(**TINY_VAE)
    scheduler = DDIMScheduler(1000, 1e-4, 2e-2, "linear", clip_sample=False)
    names = {0: "shirt", 1: "shoe", 2: "bag"}
    DiTPipeline(transformer, vae, scheduler, id2label=names).save_pretrained(folder)
    return folder


def edit_json(path: Path, **changes: object) -> None:
    """Replace keys of a JSON file, such as a configuration of a pipeline folder."""
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")
