"""The configuration files of a saved pipeline: found, read and checked without PyTorch.

A key of another type, an unknown key that is switched on, and a class that is not supported are
each refused in one sentence with the file and the key. Keys and defaults are those of diffusers.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..core.errors import BenchError, unknown
from ..core.settings import validate
from .zoo import CONFIGURATIONS, EMBEDDED, HUB_ID, HUB_NAMES, PIPELINES, RANDOM_PREFIX

CONFIG_FILES = ("model_index.json", "transformer/*.json", "vae/*.json", "scheduler/*.json")
_OFF = (None, False, "default")  # the values of an unknown key that changes nothing

Size = Annotated[int, Field(ge=1, le=65_536)]
Beta = Annotated[float, Field(gt=0, lt=1)]


class _Config(BaseModel):
    """Base of the configurations: exact types, no unknown key, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TransformerConfig(_Config):
    """``transformer/config.json`` of a class-conditional DiT."""

    num_attention_heads: Annotated[int, Field(ge=1, le=1024)]
    attention_head_dim: Annotated[int, Field(ge=1, le=4096)]
    in_channels: Annotated[int, Field(ge=1, le=1024)]
    out_channels: Size | None = None
    num_layers: Annotated[int, Field(ge=1, le=1000)]
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
        if self.sample_size % self.patch_size:
            raise ValueError(
                f"patch_size {self.patch_size} does not divide sample_size {self.sample_size}"
            )
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


class VAEConfig(_Config):
    """``vae/config.json`` of an ``AutoencoderKL``. DiTPipeline knows no shift of latents."""

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
    shift_factor: None = None
    latents_mean: None = None
    latents_std: None = None
    force_upcast: bool = True  # decoding is in float32 in any case
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

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


class SchedulerConfig(_Config):
    """``scheduler/scheduler_config.json``; which values a sampler honours: ``build_schedule``."""

    num_train_timesteps: Annotated[int, Field(ge=1, le=100_000)] = 1000
    beta_start: Beta = 1e-4
    beta_end: Beta = 2e-2
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: list[Beta] | None = None
    prediction_type: Literal["epsilon", "sample", "v_prediction"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    timestep_spacing: Literal["leading", "linspace", "trailing"] = "leading"
    steps_offset: Annotated[int, Field(ge=0, le=1000)] = 0
    set_alpha_to_one: bool = True
    clip_sample: bool = True
    clip_sample_range: Annotated[float, Field(gt=0)] = 1.0
    thresholding: bool = False
    dynamic_thresholding_ratio: Annotated[float, Field(ge=0, le=1)] = 0.995
    sample_max_value: Annotated[float, Field(ge=1)] = 1.0
    variance_type: (
        Literal[
            "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned",
            "learned_range",
        ]
        | None
    ) = None  # fmt: skip  # None: the file does not say

    @model_validator(mode="after")
    def _fits(self) -> Self:
        betas, levels = self.trained_betas, self.num_train_timesteps
        if betas is not None and len(betas) != levels:
            raise ValueError(
                f"trained_betas has {len(betas)} values, num_train_timesteps is {levels}"
            )
        return self


_CONFIGS: dict[str, type[_Config]] = {
    "transformer/config.json": TransformerConfig,
    "vae/config.json": VAEConfig,
    "scheduler/scheduler_config.json": SchedulerConfig,
}


@dataclass(frozen=True)
class PipelineConfig:
    """The checked configurations of a pipeline folder."""

    folder: Path
    transformer: TransformerConfig
    vae: VAEConfig
    scheduler: SchedulerConfig


def check_model(name: str) -> None:
    """Raise BenchError where ``name`` is no model, or a pipeline that is not supported.

    Of a model on the hub, the configuration files are fetched and no weights.
    """
    if name.startswith(RANDOM_PREFIX):
        random_configuration(name)
    elif name not in CONFIGURATIONS:
        read_pipeline(pipeline_folder(name))


def random_configuration(name: str) -> dict[str, Any]:
    """Return the transformer's configuration of ``random:NAME``. Raises BenchError if unknown."""
    bare = name.removeprefix(RANDOM_PREFIX)
    if bare not in CONFIGURATIONS:
        raise unknown("configuration", bare, CONFIGURATIONS)
    return CONFIGURATIONS[bare]


def read_pipeline(folder: Path) -> PipelineConfig:
    """Return the configurations in ``folder``; BenchError names the first file and key at fault."""
    index = _read_index(folder)
    parts = PIPELINES[index["_class_name"]]
    for part, classes in parts.items():
        entry = index.get(part)
        found = entry[-1] if isinstance(entry, list) and entry else entry
        _check_class(folder / "model_index.json", part, found, classes)
    transformer, vae, scheduler = (
        _read_config(folder / path, cls, parts[path.partition("/")[0]])
        for path, cls in _CONFIGS.items()
    )
    if vae.latent_channels != transformer.in_channels:
        raise BenchError(
            f"{folder / 'vae' / 'config.json'}: latent_channels is {vae.latent_channels}, and the "
            f"transformer makes latents of {transformer.in_channels} channels: they must agree"
        )
    return PipelineConfig(folder, transformer, vae, scheduler)


def pipeline_folder(name: str, patterns: tuple[str, ...] = CONFIG_FILES) -> Path:
    """Return the local folder of a pipeline; of a hub id, files of ``patterns`` are fetched.

    Raises BenchError for an unknown name, an incomplete folder and a failed download.
    """
    if name == EMBEDDED:
        return Path(str(files("mpqbench.assets"))) / EMBEDDED
    hub_id = HUB_NAMES.get(name, name)
    try:
        path = Path(hub_id)
        path = path if path.exists() else path.expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise BenchError(f"model folder '{name}' cannot be read: {error}") from None
    if name and is_folder:
        return path
    if not exists and HUB_ID.fullmatch(hub_id):
        return _fetch(hub_id, patterns)
    if "/" in name or path.suffix or (name and exists):
        is_file = " is a file, not a folder" if exists else " does not exist"
        raise BenchError(f"model folder {path}{is_file}: give a saved DiTPipeline folder")
    known = [EMBEDDED, *HUB_NAMES, *(RANDOM_PREFIX + key for key in CONFIGURATIONS)]
    raise unknown("model", name, known)


def _fetch(hub_id: str, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(patterns)))
    except Exception as error:  # the hub's client raises many unrelated types
        raise BenchError(
            f"no folder '{hub_id}' here, and it could not be fetched from the hub "
            f"({type(error).__name__}): check the name and the network, or give a local folder"
        ) from error


def _read_index(folder: Path) -> dict[str, Any]:
    """Return ``model_index.json`` of a supported pipeline whose parts are there."""
    path = folder / "model_index.json"
    if not path.is_file():
        raise BenchError(f"{folder} is not a DiTPipeline folder: model_index.json is missing")
    index = read_json(path)
    _check_class(path, "_class_name", index.get("_class_name"), tuple(PIPELINES))
    for part in PIPELINES[index["_class_name"]]:
        if not (folder / part).is_dir():
            raise BenchError(f"{folder} is not a DiTPipeline folder: {part} is missing")
    return index


def _read_config(path: Path, cls: type[_Config], classes: tuple[str, ...]) -> Any:
    content = read_json(path)
    _check_class(path, "_class_name", content.get("_class_name"), classes)
    known = {
        key: value
        for key, value in content.items()
        if key in cls.model_fields or not (key.startswith("_") or value in _OFF)
    }
    return validate(cls, known, str(path))


def _check_class(path: Path, key: str, found: object, classes: tuple[str, ...]) -> None:
    if found not in classes:
        shown = f"is '{found}'" if isinstance(found, str) else "names no class"
        raise BenchError(
            f"{path}: {key} {shown[:200]}, which is not supported (supported: {', '.join(classes)})"
        )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises BenchError for anything else, and for a key twice.

    Only UTF-8 without a byte-order mark is read, as diffusers does.
    """
    if not path.is_file():
        raise BenchError(f"{path} is missing: the pipeline folder is incomplete")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_no_number, object_pairs_hook=_unique)
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise BenchError(f"{path} is not valid JSON: its lists are nested too deeply") from None
    except ValueError as error:
        is_mark = "BOM" in str(error)
        reason = "save it as UTF-8 without a byte-order mark" if is_mark else str(error)
        raise BenchError(f"{path} is not valid JSON: {reason}") from None
    if not isinstance(content, dict):
        raise BenchError(f"{path} must hold a JSON object, not a {type(content).__name__}")
    return content


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has the key '{key}' twice")
        found[key] = value
    return found
