"""Load a model by name: embedded, local ``DiTPipeline`` folder, hub id, or random weights."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel

from .architectures import architecture_of
from .configs import (
    CONFIG_FILES,
    SchedulerConfig,
    pipeline_folder,
    random_configuration,
    read_pipeline,
)
from .weights import WEIGHT_FILES, load_part
from .zoo import CONFIGURATIONS, HUB_NAMES, RANDOM_PREFIX, SD_VAE


class _Arithmetic(NamedTuple):
    frequency_shift: int  # denominator of the time frequencies is half the channels minus this
    mlp_norm_epsilon: float | None  # None: that of the configuration
    guided_channels: int | None  # None: all latent channels


# Of the original DiT or of diffusers: docs/conventions.md lists the differences with their sources.
ARITHMETIC = {"original": _Arithmetic(0, 1e-6, 3), "diffusers": _Arithmetic(1, None, None)}


def apply_convention(transformer: DiTTransformer2DModel, convention: str) -> None:
    """Set the time frequencies and the epsilon of the norm before every block's MLP, in place."""
    arithmetic = ARITHMETIC[convention]
    epsilon = arithmetic.mlp_norm_epsilon or transformer.config.norm_eps
    for block in transformer.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = arithmetic.frequency_shift
        block.norm3.eps = epsilon


@dataclass
class DiTModel:
    """A Diffusion Transformer, its autoencoder and scheduler; the null class is the last one."""

    name: str
    transformer: DiTTransformer2DModel
    vae: AutoencoderKL
    scheduler: SchedulerConfig
    digest: str

    def forward(
        self, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """Return the output (n, channels, h, w) of latents (n, c, h, w), times and classes (n,)."""
        return architecture_of(self.transformer).forward(self.transformer, latents, times, classes)

    @property
    def classes(self) -> int:
        """Number of classes without the null class."""
        return int(self.transformer.config.num_embeds_ada_norm)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one latent."""
        config = self.transformer.config
        return config.in_channels, config.sample_size, config.sample_size

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        config = self.vae.config
        side = int(self.transformer.config.sample_size) * 2 ** (len(config.block_out_channels) - 1)
        return side, side, int(config.out_channels)

    def to(self, device: str, dtype: torch.dtype) -> Self:
        """Move the model in place. Only the transformer changes type: decoding is in float32."""
        # diffusers' own ``to`` warns about a list of modules that is empty for this class.
        torch.nn.Module.to(self.transformer, device=device, dtype=dtype)
        self.vae.to(device=device)
        return self


def load_model(name: str) -> DiTModel:
    """Load the model called ``name`` on the CPU in float32, in evaluation mode.

    Raises BenchError for an unknown name, a pipeline that is not supported, and weights that are
    unreadable, incomplete, of other shapes than the configuration says, or not finite.
    """
    if name.startswith(RANDOM_PREFIX):
        return _random_model(name)
    read_pipeline(pipeline_folder(name))  # before weights are fetched
    config = read_pipeline(pipeline_folder(name, (*CONFIG_FILES, *WEIGHT_FILES)))
    transformer = load_part(
        config.folder / "transformer", DiTTransformer2DModel, config.transformer
    )
    vae = load_part(config.folder / "vae", AutoencoderKL, config.vae)
    return DiTModel(name, transformer, vae, config.scheduler, _digest(config.folder))


def meta_transformer(name: str) -> DiTTransformer2DModel:
    """Return the transformer of ``name`` on the meta device, without weights, to count cost."""
    of_hub = {hub_id: short for short, hub_id in HUB_NAMES.items()}
    bare = name.removeprefix(RANDOM_PREFIX)
    if name in of_hub and not Path(name).is_dir():  # a published configuration: no download
        bare = of_hub[name]
    if bare in CONFIGURATIONS or name.startswith(RANDOM_PREFIX):
        return skeleton(random_configuration(bare))
    return skeleton(read_pipeline(pipeline_folder(name)).transformer.model_dump())


def skeleton(config: Any) -> DiTTransformer2DModel:
    """Return a transformer of that configuration on the meta device: shapes, no weights."""
    with torch.device("meta"):
        return DiTTransformer2DModel.from_config(config).eval()


def _random_model(name: str) -> DiTModel:
    """Build a known configuration with seeded random weights, to measure speed and memory."""
    config = random_configuration(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = DiTTransformer2DModel.from_config(config)
        vae = AutoencoderKL.from_config(SD_VAE)
    for part in (transformer, vae):
        part.eval().requires_grad_(False)
    scheduler = SchedulerConfig(clip_sample=False)
    return DiTModel(name, transformer, vae, scheduler, f"{name}-seed0")


def _digest(folder: Path) -> str:
    """Return 16 hex digits of the SHA-256 of configurations and weights, in a fixed order."""
    total = hashlib.sha256()
    for part in ("transformer", "vae", "scheduler"):
        for path in sorted((folder / part).glob("*")):
            if path.suffix in (".json", ".safetensors"):
                total.update(f"{part}/{path.name}".encode())
                with path.open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]
