"""Names of models, configurations whose cost needs no weights, and the supported classes."""

import re
from typing import Any

EMBEDDED = "fashion-dit"
# Models inside the package, and the feature network of each.
FEATURES = {EMBEDDED: "fashion", "emoji-mmdit": "emoji"}
RANDOM_PREFIX = "random:"  # a configuration with seeded random weights, for speed and memory

# PixArt, too, was published as the class Transformer2DModel, with norm_type "ada_norm_single".
_PIXART = {
    "transformer": ("PixArtTransformer2DModel", "Transformer2DModel"),
    "vae": ("AutoencoderKL",),
    "scheduler": ("DPMSolverMultistepScheduler", "DDIMScheduler", "DDPMScheduler"),
}

# Supported pipelines, and the supported classes of each part as diffusers names them.
# DiT was published as the class Transformer2DModel, with norm_type "ada_norm_zero".
PIPELINES: dict[str, dict[str, tuple[str, ...]]] = {
    "DiTPipeline": {
        "transformer": ("DiTTransformer2DModel", "Transformer2DModel"),
        "vae": ("AutoencoderKL",),
        "scheduler": ("DDIMScheduler", "DDPMScheduler"),
    },
    "StableDiffusion3Pipeline": {
        "transformer": ("SD3Transformer2DModel",),
        "vae": ("AutoencoderKL",),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
    "PixArtAlphaPipeline": _PIXART,
    "PixArtSigmaPipeline": _PIXART,
    "SanaPipeline": {
        "transformer": ("SanaTransformer2DModel",),
        "vae": ("AutoencoderDC",),
        "scheduler": ("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"),
    },
}
# Pipelines that decode latents as they are, whatever shift_factor the autoencoder has.
UNSHIFTED = ("DiTPipeline", "PixArtAlphaPipeline", "PixArtSigmaPipeline")

FLOW_CLASSES = ("SD3Transformer2DModel", "SanaTransformer2DModel")

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_NAMES = {
    **{f"dit-xl-2-{side}": f"facebook/DiT-XL-2-{side}" for side in (256, 512)},
    "pixart-sigma-xl-2-1024": "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    "sana-1.6b": "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
}

_DIT = {
    "num_attention_heads": 16, "attention_head_dim": 72, "num_layers": 28, "patch_size": 2,
    "in_channels": 4, "out_channels": 8, "num_embeds_ada_norm": 1000,
    "norm_type": "ada_norm_zero", "norm_elementwise_affine": False,
    "activation_fn": "gelu-approximate", "attention_bias": True,
}  # fmt: skip  # the transformer of facebook/DiT-XL-2-256 and -512 (arXiv 2212.09748, Table 1)

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
    "pixart-sigma-xl-2-1024": _PIXART_SIGMA,
    "sana-1.6b": _SANA,
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
# Autoencoders of random models by class of the transformer; any other decodes with SD_VAE.
AUTOENCODERS = {"SanaTransformer2DModel": DEEP_VAE}

MODELS = (EMBEDDED, *HUB_NAMES, *(RANDOM_PREFIX + name for name in CONFIGURATIONS))
