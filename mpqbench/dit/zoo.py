"""Names of models, configurations whose cost needs no weights, and the supported classes."""

import re
from typing import Any

EMBEDDED = "fashion-dit"
# Models inside the package, and the feature network of each.
FEATURES = {EMBEDDED: "fashion", "emoji-mmdit": "emoji"}
RANDOM_PREFIX = "random:"  # a configuration with seeded random weights, for speed and memory

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
    "FluxPipeline": {
        "transformer": ("FluxTransformer2DModel",),
        "vae": ("AutoencoderKL",),
        "scheduler": ("FlowMatchEulerDiscreteScheduler",),
    },
}

FLOW_CLASSES = (
    "SD3Transformer2DModel",
    "FluxTransformer2DModel",
)

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_NAMES = {f"dit-xl-2-{side}": f"facebook/DiT-XL-2-{side}" for side in (256, 512)} | {
    "flux.1-dev": "black-forest-labs/FLUX.1-dev",
    "sd3.5-medium": "stabilityai/stable-diffusion-3.5-medium",
    "sd3.5-large": "stabilityai/stable-diffusion-3.5-large",
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

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    **{f"dit-xl-2-{side}": _DIT | {"sample_size": side // 8} for side in (256, 512)},
    "flux.1-dev": _FLUX,
    "sd3.5-medium": _MEDIUM,
    "sd3.5-large": _LARGE,
}

SD_VAE: dict[str, Any] = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": 256,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2,
}  # fmt: skip  # the autoencoder sd-vae-ft-ema that DiT-XL/2 decodes with

_VAE_16 = SD_VAE | {
    "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip
# What a random model has beside its transformer, by its class: the autoencoder, SD_VAE by default,
# and the scheduler of one of flow matching, by default with shift 3.
AUTOENCODERS: dict[str, dict[str, Any]] = {
    "SD3Transformer2DModel": _VAE_16 | {"scaling_factor": 1.5305, "shift_factor": 0.0609},
    "FluxTransformer2DModel": _VAE_16 | {"scaling_factor": 0.3611, "shift_factor": 0.1159},
}
FLOW_KEYS: dict[str, dict[str, Any]] = {
    "FluxTransformer2DModel": {"shift": 3.0, "use_dynamic_shifting": True},
}

MODELS = (EMBEDDED, *HUB_NAMES, *(RANDOM_PREFIX + name for name in CONFIGURATIONS))
