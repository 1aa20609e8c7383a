"""Load a model by name: embedded, local ``DiTPipeline`` folder, hub id, or random weights."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import diffusers
import torch

from .architecture import Architecture
from .architectures import architecture_named, architecture_of
from .configs import CONFIG_FILES, pipeline_folder, random_configuration, read_pipeline
from .prompts import given_prompts
from .scheduler_configs import FlowConfig, NoiseLevels, SchedulerConfig
from .weights import WEIGHT_FILES, load_part
from .words import WORDS, read_words
from .zoo import (
    AUTOENCODERS,
    CONFIGURATIONS,
    FLOW_CLASSES,
    HUB_NAMES,
    RANDOM_PREFIX,
    SD_VAE,
)


@dataclass
class DiTModel:
    """A Diffusion Transformer, its autoencoder and scheduler; the null condition is the last."""

    name: str
    transformer: Any
    vae: Any
    scheduler: NoiseLevels
    digest: str

    @property
    def architecture(self) -> Architecture:
        """The family of the transformer."""
        return architecture_of(self.transformer)

    def forward(
        self, latents: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """Return the output (n, channels, h, w) of latents (n, c, h, w), times and classes (n,)."""
        return self.architecture.forward(self.transformer, latents, times, classes)

    @property
    def classes(self) -> int:
        """Number of conditions, classes or prompts, without the null condition."""
        return self.architecture.conditions(self.transformer)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one latent."""
        return self.architecture.latent_shape(self.transformer)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        config = self.vae.config
        _, height, width = self.latent_shape
        blocks = config.get("block_out_channels") or config["decoder_block_out_channels"]
        scale = 2 ** (len(blocks) - 1)
        return height * scale, width * scale, int(config.get("out_channels", config.in_channels))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return pixels (n, C, H, W) in [-1, 1] of latents (n, c, h, w), float32."""
        config = self.vae.config
        shift = getattr(config, "shift_factor", None) or 0.0
        scaled = latents.float() / config.scaling_factor
        return self.vae.decode(scaled + shift if shift else scaled).sample

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
    architecture = architecture_named(config.classes["transformer"])
    transformer = load_part(
        config.folder / "transformer", architecture.transformer_class(), config.transformer
    )
    architecture.adapt(transformer)
    vae = load_part(config.folder / "vae", getattr(diffusers, config.classes["vae"]), config.vae)
    if (config.folder / WORDS).is_dir():
        transformer.prompts = read_words(config.folder / WORDS)
    return DiTModel(name, transformer, vae, config.scheduler, _digest(config.folder))


def meta_transformer(name: str) -> Any:
    """Return the transformer of ``name`` on the meta device, without weights, to count cost."""
    of_hub = {hub_id: short for short, hub_id in HUB_NAMES.items()}
    bare = name.removeprefix(RANDOM_PREFIX)
    if name in of_hub and not Path(name).is_dir():  # a published configuration: no download
        bare = of_hub[name]
    if bare in CONFIGURATIONS or name.startswith(RANDOM_PREFIX):
        config = random_configuration(bare)
        return _on_meta(_of_configuration(config), config)
    saved = read_pipeline(pipeline_folder(name))
    return _on_meta(architecture_named(saved.classes["transformer"]), dict(saved.transformer))


def skeleton(transformer: Any) -> Any:
    """Return a transformer like this on the meta device: shapes, no weights."""
    bare = _on_meta(architecture_of(transformer), transformer.config)
    bare.prompts = given_prompts(transformer)
    return bare


def _on_meta(architecture: Architecture, config: Any) -> Any:
    with torch.device("meta"):
        transformer = architecture.transformer_class().from_config(config).eval()
    architecture.adapt(transformer)
    return transformer


def _of_configuration(config: Mapping[str, Any]) -> Architecture:
    return architecture_named(config.get("_class_name", "DiTTransformer2DModel"))


def _random_model(name: str) -> DiTModel:
    """Build a known configuration with seeded random weights, to measure speed and memory."""
    config = random_configuration(name)
    architecture = _of_configuration(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = architecture.transformer_class().from_config(config)
        vae = _random_autoencoder(architecture, transformer)
    architecture.adapt(transformer)
    for part in (transformer, vae):
        part.eval().requires_grad_(False)
    is_flow = architecture.classes[0] in FLOW_CLASSES
    scheduler = FlowConfig() if is_flow else SchedulerConfig(clip_sample=False)
    return DiTModel(name, transformer, vae, scheduler, f"{name}-seed0")


def _random_autoencoder(architecture: Architecture, transformer: Any) -> Any:
    usual = SD_VAE | {"latent_channels": architecture.latent_shape(transformer)[0]}
    config = AUTOENCODERS.get(architecture.classes[0], usual)
    cls = getattr(diffusers, config.get("_class_name", "AutoencoderKL"))
    return cls.from_config(config)


def _digest(folder: Path) -> str:
    """Return 16 hex digits of the SHA-256 of configurations and weights, in a fixed order."""
    total = hashlib.sha256()
    for part in ("transformer", "vae", "scheduler", WORDS):
        for path in sorted((folder / part).glob("*")):
            if path.suffix in (".json", ".safetensors"):
                total.update(f"{part}/{path.name}".encode())
                with path.open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:16]
