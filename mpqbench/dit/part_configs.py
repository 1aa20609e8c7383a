"""The configurations of transformers and autoencoders, checked without PyTorch.

Keys and defaults are those of diffusers.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Size = Annotated[int, Field(ge=1, le=65_536)]


class PartConfig(BaseModel):
    """Base of the configurations: exact types, no unknown key, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class OpenConfig(PartConfig):
    """Base of configurations whose other keys are checked when diffusers' class is built."""

    model_config = ConfigDict(extra="allow")


class TransformerConfig(OpenConfig):
    """What all transformers have."""

    in_channels: Annotated[int, Field(ge=1, le=1024)]
    num_layers: Annotated[int, Field(ge=1, le=1000)]

    @property
    def latent_channels(self) -> int:
        """Channels of the latents that are denoised."""
        return self.in_channels


class MMDiTConfig(TransformerConfig):
    """``transformer/config.json`` of SD3 and SD3.5."""

    sample_size: Annotated[int, Field(ge=1, le=1024)]
    patch_size: Annotated[int, Field(ge=1, le=64)]
    joint_attention_dim: Size
    pooled_projection_dim: Size

    @model_validator(mode="after")
    def _divides(self) -> Self:
        return _check_patches(self)


class FluxConfig(TransformerConfig):
    """``transformer/config.json`` of FLUX.1."""

    patch_size: Literal[1] = 1
    in_channels: Annotated[int, Field(ge=4, le=1024, multiple_of=4)] = 64
    out_channels: int | None = None
    num_layers: Annotated[int, Field(ge=0, le=1000)] = 19
    num_single_layers: Annotated[int, Field(ge=0, le=1000)] = 38
    attention_head_dim: Annotated[int, Field(ge=2, le=4096)] = 128
    joint_attention_dim: Size = 4096
    pooled_projection_dim: Size = 768
    guidance_embeds: bool = False
    axes_dims_rope: tuple[int, int, int] = Field(default=(16, 56, 56), strict=False)

    @property
    def latent_channels(self) -> int:
        """Channels of the latents, of which 2 x 2 are packed into one token."""
        return self.in_channels // 4

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.out_channels not in (None, self.in_channels):
            raise ValueError(
                f"out_channels {self.out_channels} must be in_channels ({self.in_channels}): a "
                "transformer that is given more than latents is not supported"
            )
        if any(dim < 2 or dim % 2 for dim in self.axes_dims_rope) or (
            sum(self.axes_dims_rope) != self.attention_head_dim
        ):
            raise ValueError(
                f"axes_dims_rope {list(self.axes_dims_rope)} must be even numbers that add up to "
                f"attention_head_dim {self.attention_head_dim}"
            )
        if self.num_layers + self.num_single_layers == 0:
            raise ValueError("num_layers and num_single_layers are both 0")
        return self


class DiTConfig(TransformerConfig):
    """``transformer/config.json`` of a class-conditional DiT."""

    model_config = ConfigDict(extra="forbid")

    num_attention_heads: Annotated[int, Field(ge=1, le=1024)]
    attention_head_dim: Annotated[int, Field(ge=1, le=4096)]
    out_channels: Size | None = None
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.0  # of training
    norm_num_groups: int | None = 32  # of another kind of transformer
    attention_bias: bool = True
    sample_size: Annotated[int, Field(ge=1, le=1024)]
    patch_size: Annotated[int, Field(ge=1, le=64)]
    activation_fn: Literal["gelu-approximate", "gelu"] = "gelu-approximate"
    num_embeds_ada_norm: Annotated[int, Field(ge=1, le=1_000_000)]
    upcast_attention: Literal[False] = False
    norm_type: Literal["ada_norm_zero"] = "ada_norm_zero"
    norm_elementwise_affine: bool = False
    norm_eps: float = 1e-5

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_patches(self)
        if self.norm_eps not in (1e-5, 1e-6):  # diffusers' and the original's
            raise ValueError(f"norm_eps must be 1e-05 or 1e-06, not {self.norm_eps}")
        width = self.num_attention_heads * self.attention_head_dim
        if width % 4:
            raise ValueError(
                f"num_attention_heads x attention_head_dim is {width}: position embeddings need a "
                "multiple of 4"
            )
        if self.out_channels not in (None, self.in_channels, 2 * self.in_channels):
            raise ValueError(
                f"out_channels {self.out_channels} must be in_channels ({self.in_channels}), or "
                "twice as many with learned variance"
            )
        return self


class PixArtConfig(TransformerConfig):
    """``transformer/config.json`` of PixArt-alpha and -Sigma."""

    model_config = ConfigDict(extra="forbid")

    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 16
    attention_head_dim: Annotated[int, Field(ge=1, le=4096)] = 72
    out_channels: Size = 8
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.0  # of training
    norm_num_groups: int | None = 32  # of another kind of transformer
    cross_attention_dim: Size = 1152
    attention_bias: bool = True
    sample_size: Annotated[int, Field(ge=1, le=1024)] = 128
    patch_size: Annotated[int, Field(ge=1, le=64)] = 2
    activation_fn: Literal["gelu-approximate", "gelu"] = "gelu-approximate"
    num_embeds_ada_norm: int = 1000  # of another kind of transformer
    upcast_attention: Literal[False] = False
    norm_type: Literal["ada_norm_single"] = "ada_norm_single"
    norm_elementwise_affine: bool = False
    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    interpolation_scale: Annotated[float, Field(gt=0)] | None = None
    use_additional_conditions: bool | None = None
    caption_channels: Size | None = None
    attention_type: Literal["default"] | None = "default"

    @property
    def tells_size(self) -> bool:
        """Whether the transformer is told the size of the image in pixels."""
        told = self.use_additional_conditions
        return self.sample_size == 128 if told is None else told

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_patches(self)
        width = self.num_attention_heads * self.attention_head_dim
        if self.caption_channels is not None and self.cross_attention_dim != width:
            raise ValueError(
                f"cross_attention_dim {self.cross_attention_dim} must be num_attention_heads x "
                f"attention_head_dim ({width}), as caption_channels is given"
            )
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ValueError(
                f"out_channels {self.out_channels} must be in_channels ({self.in_channels}), or "
                "twice as many with learned variance"
            )
        return self


class SanaConfig(TransformerConfig):
    """``transformer/config.json`` of Sana and SANA-1.5."""

    model_config = ConfigDict(extra="forbid")

    in_channels: Annotated[int, Field(ge=1, le=1024)] = 32
    out_channels: Size = 32
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 70
    attention_head_dim: Annotated[int, Field(ge=1, le=4096)] = 32
    num_layers: Annotated[int, Field(ge=1, le=1000)] = 20
    num_cross_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 20
    cross_attention_head_dim: Annotated[int, Field(ge=1, le=4096)] = 112
    cross_attention_dim: Size = 2240
    caption_channels: Size = 2304
    mlp_ratio: Annotated[float, Field(gt=0, le=64)] = 2.5
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.0  # of training
    attention_bias: bool = False
    sample_size: Annotated[int, Field(ge=1, le=1024)] = 32
    patch_size: Annotated[int, Field(ge=1, le=64)] = 1
    norm_elementwise_affine: bool = False
    norm_eps: Annotated[float, Field(gt=0)] = 1e-6
    interpolation_scale: Annotated[float, Field(gt=0)] | None = None
    guidance_embeds: Literal[False] = False  # of Sana-Sprint, which has a sampler of its own
    guidance_embeds_scale: float = 0.1
    qk_norm: Literal["rms_norm_across_heads"] | None = None
    timestep_scale: Annotated[float, Field(ge=1, le=1)] = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_patches(self)
        width = self.num_attention_heads * self.attention_head_dim
        if self.cross_attention_dim != width:
            raise ValueError(
                f"cross_attention_dim {self.cross_attention_dim} must be num_attention_heads x "
                f"attention_head_dim ({width})"
            )
        if self.out_channels != self.in_channels:
            raise ValueError(
                f"out_channels {self.out_channels} must be in_channels ({self.in_channels})"
            )
        return self


class VAEConfig(PartConfig):
    """``vae/config.json`` of an ``AutoencoderKL``."""

    in_channels: Literal[1, 3]
    out_channels: Literal[1, 3]
    down_block_types: list[Literal["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]]
    up_block_types: list[Literal["UpDecoderBlock2D", "AttnUpDecoderBlock2D"]]
    block_out_channels: list[Size] = Field(min_length=1, max_length=8)
    layers_per_block: Annotated[int, Field(ge=1, le=64)]
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"] = "silu"
    latent_channels: Annotated[int, Field(ge=1, le=1024)]
    norm_num_groups: Size = 32
    sample_size: int | list[int] | None = 32  # of the training images
    scaling_factor: Annotated[float, Field(gt=0)] = 0.18215
    shift_factor: float | None = None
    latents_mean: None = None
    latents_std: None = None
    force_upcast: bool = True  # decoding is in float32 in any case
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    @property
    def scale(self) -> int:
        """Pixels of a latent's side."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        blocks = len(self.block_out_channels)
        for key in ("down_block_types", "up_block_types"):
            if len(getattr(self, key)) != blocks:
                raise ValueError(
                    f"{key} has {len(getattr(self, key))} entries, block_out_channels {blocks}"
                )
        for width in self.block_out_channels:
            if width % self.norm_num_groups:
                raise ValueError(
                    f"norm_num_groups {self.norm_num_groups} does not divide {width} of "
                    "block_out_channels"
                )
        return self


DeepBlock = Literal["ResBlock", "EfficientViTBlock"]


class DeepVAEConfig(PartConfig):
    """``vae/config.json`` of an ``AutoencoderDC`` (arXiv 2410.10733)."""

    in_channels: Literal[1, 3] = 3
    latent_channels: Annotated[int, Field(ge=1, le=1024)] = 32
    attention_head_dim: Annotated[int, Field(ge=1, le=4096)] = 32
    encoder_block_types: DeepBlock | list[DeepBlock] = "ResBlock"
    decoder_block_types: DeepBlock | list[DeepBlock] = "ResBlock"
    encoder_block_out_channels: list[Size] = Field(min_length=1, max_length=10)
    decoder_block_out_channels: list[Size] = Field(min_length=1, max_length=10)
    encoder_layers_per_block: list[int]
    decoder_layers_per_block: list[int]
    encoder_qkv_multiscales: list[list[int]]
    decoder_qkv_multiscales: list[list[int]]
    upsample_block_type: str = "pixel_shuffle"
    downsample_block_type: str = "pixel_unshuffle"
    decoder_norm_types: str | list[str] = "rms_norm"
    decoder_act_fns: str | list[str] = "silu"
    encoder_out_shortcut: bool = True
    decoder_in_shortcut: bool = True
    decoder_conv_act_fn: str = "relu"
    scaling_factor: Annotated[float, Field(gt=0)] = 1.0


def _check_patches(config: Any) -> Any:
    if config.sample_size % config.patch_size:
        raise ValueError(
            f"patch_size {config.patch_size} does not divide sample_size {config.sample_size}"
        )
    return config
