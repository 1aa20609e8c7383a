"""Load a model by name: embedded, local ``DiTPipeline`` folder, hub id, or random weights."""

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from diffusers import AutoencoderKL, DiTTransformer2DModel
from safetensors import SafetensorError, safe_open

from ..core.errors import BenchError, unknown
from .zoo import CONFIGURATIONS, EMBEDDED, HUB_NAMES, RANDOM_PREFIX, SD_VAE

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class _Arithmetic(NamedTuple):
    frequency_shift: int  # denominator of the time frequencies is half the channels minus this
    mlp_norm_epsilon: float
    guided_channels: int | None  # None: all latent channels


# Of the original DiT or of diffusers: docs/conventions.md lists the differences with their sources.
ARITHMETIC = {"original": _Arithmetic(0, 1e-6, 3), "diffusers": _Arithmetic(1, 1e-5, None)}


def apply_convention(transformer: DiTTransformer2DModel, convention: str) -> None:
    """Set the time frequencies and the epsilon of the norm before every block's MLP, in place."""
    arithmetic = ARITHMETIC[convention]
    for block in transformer.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = arithmetic.frequency_shift
        block.norm3.eps = arithmetic.mlp_norm_epsilon


@dataclass
class DiTModel:
    """A Diffusion Transformer, its autoencoder and scheduler; the null class is the last one."""

    name: str
    transformer: DiTTransformer2DModel
    vae: AutoencoderKL
    scheduler: dict[str, Any]
    digest: str

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

    Raises BenchError for an unknown name, a missing folder, unreadable or incomplete weights.
    """
    if name.startswith(RANDOM_PREFIX):
        return _random_model(name)
    folder = pipeline_folder(name)
    transformer = _read_part(folder / "transformer", DiTTransformer2DModel)
    vae = _read_part(folder / "vae", AutoencoderKL)
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json")
    return DiTModel(name, transformer, vae, scheduler, _digest(folder))


def meta_transformer(name: str) -> DiTTransformer2DModel:
    """Return the transformer of ``name`` on the meta device, without weights, to count cost."""
    known = None
    if not Path(name).is_dir():  # published configurations need no download
        of_hub = {hub_id: short for short, hub_id in HUB_NAMES.items()}
        known = CONFIGURATIONS.get(of_hub.get(name, name).removeprefix(RANDOM_PREFIX))
    return skeleton(known or _read_json(pipeline_folder(name) / "transformer" / "config.json"))


def skeleton(config: Any) -> DiTTransformer2DModel:
    """Return a transformer of that configuration on the meta device: shapes, no weights."""
    with torch.device("meta"):
        return DiTTransformer2DModel.from_config(config).eval()


def pipeline_folder(name: str) -> Path:
    """Return the local folder of a saved pipeline, downloaded where ``name`` is a hub id.

    Raises BenchError for an unknown name, an incomplete folder and a failed download.
    """
    if name == EMBEDDED:
        return _checked(Path(str(files("mpqbench.assets"))) / EMBEDDED)
    name = HUB_NAMES.get(name, name)
    path = Path(name).expanduser()
    if path.is_dir() or _HUB_ID.fullmatch(name):
        return _checked(path if path.is_dir() else _fetch(name))
    if "/" in name or path.suffix or path.exists():
        raise BenchError(f"model folder {path} does not exist: give a saved DiTPipeline folder")
    known = [EMBEDDED, *HUB_NAMES, *(RANDOM_PREFIX + key for key in CONFIGURATIONS)]
    raise unknown("model", name, known)


def _fetch(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["model_index.json", "transformer/*", "vae/*", "scheduler/*"]
    try:
        return Path(snapshot_download(hub_id, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises many unrelated types
        raise BenchError(
            f"no folder '{hub_id}' here, and it could not be fetched from the hub "
            f"({type(error).__name__}): check the name and the network, or give a local folder"
        ) from error


def _checked(folder: Path) -> Path:
    for part in ("model_index.json", "transformer", "vae", "scheduler"):
        if not (folder / part).exists():
            raise BenchError(f"{folder} is not a DiTPipeline folder: {part} is missing")
    return folder


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"{path} is missing: the pipeline folder is incomplete") from None
    except ValueError as error:
        raise BenchError(f"{path} is not valid JSON: {error}") from None


def _read_part(folder: Path, cls: Any) -> Any:
    """Load one network of the pipeline in float32; every weight must be in the files.

    ``from_pretrained`` only warns about a missing weight and leaves that weight random.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BenchError(f"{folder} holds no .safetensors weights")
    for path in weights:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise BenchError(f"{path} is truncated or damaged ({error}): fetch it again") from None
    options = {"low_cpu_mem_usage": False, "use_safetensors": True, "output_loading_info": True}
    try:
        module, info = cls.from_pretrained(folder, torch_dtype=torch.float32, **options)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BenchError(f"{folder} cannot be loaded as {cls.__name__}: {reason}") from None
    absent = sorted(info["missing_keys"])
    if absent:
        listed = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise BenchError(f"{folder} lacks {len(absent)} weights of {cls.__name__}: {listed}")
    return module.eval().requires_grad_(False)


def _random_model(name: str) -> DiTModel:
    """Build a known configuration with seeded random weights, to measure speed and memory."""
    bare = name.removeprefix(RANDOM_PREFIX)
    if bare not in CONFIGURATIONS:
        raise unknown("configuration", bare, CONFIGURATIONS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = DiTTransformer2DModel.from_config(CONFIGURATIONS[bare])
        vae = AutoencoderKL.from_config(SD_VAE)
    betas = {"beta_start": 1e-4, "beta_end": 2e-2, "beta_schedule": "linear"}
    scheduler = {"num_train_timesteps": 1000, "clip_sample": False, **betas}
    for part in (transformer, vae):
        part.eval().requires_grad_(False)
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
