"""Names of models, and configurations whose cost needs no weights."""

import re
from typing import Any

EMBEDDED, EMOJI = "fashion-dit", "emoji-mmdit"
# Models inside the package, and the feature network of each.
FEATURES = {EMBEDDED: "fashion", EMOJI: "emoji"}
DEFAULT_CLASS = "DiTTransformer2DModel"  # of a configuration that names none
RANDOM_PREFIX = "random:"  # a configuration with seeded random weights, for speed and memory

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_NAMES = {
    **{f"dit-xl-2-{side}": f"facebook/DiT-XL-2-{side}" for side in (256, 512)},
    "flux.1-dev": "black-forest-labs/FLUX.1-dev",
    "pixart-sigma-xl-2-1024": "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    "sana-1.6b": "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
    "sd3.5-large": "stabilityai/stable-diffusion-3.5-large",
    "sd3.5-medium": "stabilityai/stable-diffusion-3.5-medium",
}

_DIT = {
    "num_attention_heads": 16, "attention_head_dim": 72, "num_layers": 28, "patch_size": 2,
    "in_channels": 4, "out_channels": 8, "num_embeds_ada_norm": 1000,
    "norm_type": "ada_norm_zero", "norm_elementwise_affine": False,
    "activation_fn": "gelu-approximate", "attention_bias": True,
}  # fmt: skip  # the transformer of facebook/DiT-XL-2-256 and -512 (arXiv 2212.09748, Table 1)

# The model card of FLUX.1-dev: 12 billion parameters; the hub counts 11,901,408,320 in its files.
_FLUX = {
    "_class_name": "FluxTransformer2DModel", "patch_size": 1, "in_channels": 64,
    "num_layers": 19, "num_single_layers": 38, "attention_head_dim": 128,
    "num_attention_heads": 24, "joint_attention_dim": 4096, "pooled_projection_dim": 768,
    "guidance_embeds": True, "axes_dims_rope": (16, 56, 56),
}  # fmt: skip
_SD35 = {
    "_class_name": "SD3Transformer2DModel", "sample_size": 128, "patch_size": 2,
    "in_channels": 16, "out_channels": 16, "attention_head_dim": 64, "qk_norm": "rms_norm",
    "joint_attention_dim": 4096, "pooled_projection_dim": 2048,
}  # fmt: skip
# Published as 2.5 billion parameters (Stability AI, October 2024), which are the 2,469,663,936
# numbers of a weight file: 384 x 384 x 1,536 of them are position embeddings, which are computed.
_MEDIUM = _SD35 | {
    "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
    "pos_embed_max_size": 384, "dual_attention_layers": tuple(range(13)),
}  # fmt: skip
# Published as 8.1 billion (Stability AI, October 2024): with 192 x 192 x 2,432 of positions.
_LARGE = _SD35 | {
    "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
}  # fmt: skip

_PIXART_SIGMA = {
    "_class_name": "PixArtTransformer2DModel", "num_attention_heads": 16, "attention_head_dim": 72,
    "num_layers": 28, "patch_size": 2, "sample_size": 128, "in_channels": 4, "out_channels": 8,
    "cross_attention_dim": 1152, "caption_channels": 4096, "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False, "norm_eps": 1e-6, "num_embeds_ada_norm": 1000,
    "activation_fn": "gelu-approximate", "attention_bias": True, "interpolation_scale": 2,
    "use_additional_conditions": False,
}  # fmt: skip
# transformer/config.json of PixArt-alpha/PixArt-Sigma-XL-2-1024-MS, and diffusers' script
# convert_pixart_sigma_to_diffusers.py. 610,856,096 parameters: the file of weights has
# 2,443,492,488 bytes, 4 for each parameter and 68,104 of its header.

_SANA = {
    "_class_name": "SanaTransformer2DModel", "num_attention_heads": 70, "attention_head_dim": 32,
    "num_layers": 20, "patch_size": 1, "sample_size": 32, "in_channels": 32, "out_channels": 32,
    "num_cross_attention_heads": 20, "cross_attention_head_dim": 112, "cross_attention_dim": 2240,
    "caption_channels": 2304, "mlp_ratio": 2.5, "attention_bias": False,
    "norm_elementwise_affine": False, "norm_eps": 1e-6,
}  # fmt: skip
# transformer/config.json of Efficient-Large-Model/Sana_1600M_1024px_diffusers, and diffusers'
# script convert_sana_to_diffusers.py. 1,604,462,752 parameters: the files of weights in float32
# have 5.00 and 1.42 GB, the one in 16 bits 3.21 GB.

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    **{f"dit-xl-2-{side}": _DIT | {"sample_size": side // 8} for side in (256, 512)},
    "flux.1-dev": _FLUX,
    "pixart-sigma-xl-2-1024": _PIXART_SIGMA,
    "sana-1.6b": _SANA,
    "sd3.5-large": _LARGE,
    "sd3.5-medium": _MEDIUM,
}

SD_VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": 256,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2,
}  # fmt: skip  # the autoencoder sd-vae-ft-ema that DiT-XL/2 decodes with

_DEEP_BLOCKS = {
    "block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
    "block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "qkv_multiscales": ((), (), (), (5,), (5,), (5,)),
}
DEEP_VAE: dict[str, Any] = {
    "_class_name": "AutoencoderDC", "in_channels": 3, "latent_channels": 32,
    "encoder_layers_per_block": (2, 2, 2, 3, 3, 3), "decoder_layers_per_block": (3,) * 6,
    "downsample_block_type": "Conv", "upsample_block_type": "interpolate",
    **{f"{part}_{key}": value for part in ("encoder", "decoder")
       for key, value in _DEEP_BLOCKS.items()},
}  # fmt: skip  # the autoencoder dc-ae-f32c32-sana-1.0 (arXiv 2410.10733)
_VAE_16 = SD_VAE | {
    "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip
# What a random model has beside its transformer, by its class: the autoencoder, SD_VAE by default,
# and the scheduler of one of flow matching, by default with shift 3.
AUTOENCODERS: dict[str, dict[str, Any]] = {
    "SD3Transformer2DModel": _VAE_16 | {"scaling_factor": 1.5305, "shift_factor": 0.0609},
    "FluxTransformer2DModel": _VAE_16 | {"scaling_factor": 0.3611, "shift_factor": 0.1159},
    "SanaTransformer2DModel": DEEP_VAE,
}
FLOW_KEYS: dict[str, dict[str, Any]] = {
    "FluxTransformer2DModel": {"shift": 3.0, "use_dynamic_shifting": True},
}

MODELS = (EMBEDDED, *HUB_NAMES, *(RANDOM_PREFIX + name for name in CONFIGURATIONS))
