"""Load a model by name: embedded, local ``DiTPipeline`` folder, hub id, or random weights."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import diffusers
import numpy as np
import torch

from ..core.protocol import Protocol
from ..core.settings import digest_of
from ..core.sources import plugin_digest
from .architecture import Architecture
from .architectures import architecture_named, architecture_of
from .configs import CONFIG_FILES, pipeline_folder, random_configuration, read_pipeline
from .prompts import given_prompts
from .random_prompts import random_prompts
from .scheduler_configs import FlowConfig, NoiseLevels, SchedulerConfig
from .sizes import image_scale, set_image_size
from .weights import WEIGHT_FILES, load_part
from .words import WORDS, read_words
from .zoo import (
    AUTOENCODERS,
    CONFIGURATIONS,
    DEFAULT_CLASS,
    FLOW_KEYS,
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
    def labels(self) -> np.ndarray | None:
        """The number of each prompt's name in a feature network, (m,), where it is known."""
        table = given_prompts(self.transformer)
        return None if table is None or table.labels is None else table.labels.numpy()

    @property
    def texts(self) -> tuple[str, ...] | None:
        """The prompts, (m,), where the conditions are prompts and their texts are known."""
        table = given_prompts(self.transformer)
        return table.texts if table is not None and table.has_texts else None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one latent."""
        return self.architecture.latent_shape(self.transformer)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        _, height, width = self.latent_shape
        config, scale = self.vae.config, image_scale(self.vae.config)
        channels = config.get("out_channels", config.in_channels)
        return height * scale, width * scale, int(channels)

    def configure(self, protocol: Protocol) -> None:
        """Set what a protocol says of arithmetic and image size, in place.

        Raises BenchError for what the transformer cannot do.
        """
        set_image_size(self.transformer, protocol.image_size, image_scale(self.vae.config))
        self.architecture.configure(self.transformer, protocol)

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
    _give_words(transformer, config.folder)
    digest = _digest(config.folder)
    own = sys.modules[type(architecture).__module__]
    if not own.__name__.startswith(__package__):  # a plugin: its sources are not the harness's
        digest = digest_of([digest, plugin_digest({own})])
    return DiTModel(name, transformer, vae, config.scheduler, digest)


def meta_transformer(name: str, image_size: int | None = None) -> Any:
    """Return the transformer of ``name`` on the meta device, without weights, to count cost.

    Raises BenchError as ``load_model``, and for an ``image_size`` (pixels a side) that it cannot
    make.
    """
    of_hub = {hub_id: short for short, hub_id in HUB_NAMES.items()}
    bare = name.removeprefix(RANDOM_PREFIX)
    if name in of_hub and not Path(name).is_dir():  # a published configuration: no download
        bare = of_hub[name]
    if bare in CONFIGURATIONS or name.startswith(RANDOM_PREFIX):
        config = random_configuration(bare)
        made, vae = _on_meta(_of_configuration(config), config), _random_autoencoder(config)
    else:
        saved = read_pipeline(pipeline_folder(name))
        named = architecture_named(saved.classes["transformer"])
        made, vae = _on_meta(named, dict(saved.transformer)), saved.vae
        _give_words(made, saved.folder)  # whose number is that of a prompt's tokens
    set_image_size(made, image_size, image_scale(vae))
    return made


def _give_words(transformer: Any, folder: Path) -> None:
    """Set the prompts of an embedded model, whose words are beside its weights."""
    if (folder / WORDS).is_dir():
        transformer.prompts = read_words(folder / WORDS)


def skeleton(transformer: Any) -> Any:
    """Return a transformer like this on the meta device: shapes, no weights."""
    architecture = architecture_of(transformer)
    bare = _on_meta(architecture, transformer.config)
    bare.prompts = given_prompts(transformer)
    bare.latent_side = architecture.latent_side(transformer)
    return bare


def _on_meta(architecture: Architecture, config: Any) -> Any:
    with torch.device("meta"):
        transformer = architecture.transformer_class().from_config(config).eval()
    architecture.adapt(transformer)
    return transformer


def _of_configuration(config: Mapping[str, Any]) -> Architecture:
    return architecture_named(config.get("_class_name", DEFAULT_CLASS))


def _random_autoencoder(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the autoencoder that goes with a transformer's."""
    return AUTOENCODERS.get(_of_configuration(config).classes[0], SD_VAE)


def _random_model(name: str) -> DiTModel:
    """Build a known configuration with seeded random weights, to measure speed and memory.

    A transformer that takes prompts gets random embeddings of a few.
    """
    config = random_configuration(name)
    architecture, of_vae = _of_configuration(config), _random_autoencoder(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = architecture.transformer_class().from_config(config)
        vae = getattr(diffusers, of_vae.get("_class_name", "AutoencoderKL")).from_config(of_vae)
    architecture.adapt(transformer)
    shape = architecture.prompt_shape(transformer)
    if shape is not None:
        transformer.prompts = random_prompts(shape)
    for part in (transformer, vae):
        part.eval().requires_grad_(False)
    scheduler: NoiseLevels = SchedulerConfig(clip_sample=False)
    if architecture.is_flow:
        scheduler = FlowConfig(**FLOW_KEYS.get(architecture.classes[0], {"shift": 3.0}))
    return DiTModel(name, transformer, vae, scheduler, f"{name}-seed0")


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
