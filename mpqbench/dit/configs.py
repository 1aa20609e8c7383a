"""The configuration files of a saved pipeline: found, read and checked without PyTorch.

A key of another type, an unknown key that is switched on, and a class that is not supported are
each refused in one sentence with the file and the key. Keys and defaults are those of diffusers.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..core.errors import BenchError, unknown
from ..core.registry import discover
from ..core.settings import validate
from .architecture import Architecture
from .architectures import ARCHITECTURES, architecture_of_pipeline, use_architectures
from .part_configs import DeepVAEConfig, PartConfig, VAEConfig
from .scheduler_configs import FlowConfig, NoiseLevels, SchedulerConfig, SolverConfig
from .zoo import CONFIGURATIONS, FEATURES, HUB_ID, HUB_NAMES, RANDOM_PREFIX

CONFIG_FILES = ("model_index.json", "transformer/*.json", "vae/*.json", "scheduler/*.json")
_OFF = (None, False, "default")  # the values of an unknown key that changes nothing

_PARTS: dict[str, type[PartConfig]] = {
    "AutoencoderKL": VAEConfig,
    "AutoencoderDC": DeepVAEConfig,
    "DDIMScheduler": SchedulerConfig,
    "DDPMScheduler": SchedulerConfig,
    "FlowMatchEulerDiscreteScheduler": FlowConfig,
    "DPMSolverMultistepScheduler": SolverConfig,
}
_FILES = {
    "transformer": "transformer/config.json",
    "vae": "vae/config.json",
    "scheduler": "scheduler/scheduler_config.json",
}


@dataclass(frozen=True)
class PipelineConfig:
    """The checked configurations of a pipeline folder; ``classes`` are diffusers' names by part."""

    folder: Path
    classes: Mapping[str, str]
    transformer: Any
    vae: Any
    scheduler: NoiseLevels


def check_model(name: str, plugins: Sequence[Path] = ()) -> None:
    """Raise BenchError where ``name`` is no model, or a pipeline that is not supported.

    Of a model on the hub, the configuration files are fetched and no weights. Architectures of
    installed packages and of files in ``plugins`` are read where those that are known do not fit.
    """
    try:
        _check_model(name)
    except BenchError:
        if not use_architectures(discover(plugins)):
            raise
        _check_model(name)


def _check_model(name: str) -> None:
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
    index, architecture = _read_index(folder)
    parts = _classes(architecture)
    for part, classes in parts.items():
        entry = index.get(part)
        found = entry[-1] if isinstance(entry, list) and entry else entry
        _check_class(folder / "model_index.json", part, found, classes)
    transformer, vae, scheduler = (
        _read_config(folder / path, part, architecture) for part, path in _FILES.items()
    )
    names = {"transformer": parts["transformer"][0], "vae": index["vae"][-1]}
    where = folder / "vae" / "config.json"
    if getattr(vae, "shift_factor", None) is not None and not architecture.shifts_latents:
        pipeline = index["_class_name"]
        raise BenchError(f"{where}: shift_factor must be null: a {pipeline} shifts no latents")
    _check_latents(where, vae, transformer)
    if isinstance(scheduler, SolverConfig):
        scheduler = scheduler.levels()
    return PipelineConfig(folder, names, transformer, vae, scheduler)


def _check_latents(where: Path, vae: Any, transformer: Any) -> None:
    """Raise BenchError where the autoencoder does not decode the transformer's latents."""
    if vae.latent_channels != transformer.latent_channels:
        raise BenchError(
            f"{where}: latent_channels is {vae.latent_channels}, and the "
            f"transformer makes latents of {transformer.latent_channels} channels: they must agree"
        )
    if getattr(transformer, "tells_size", False) and vae.scale != 8:
        raise BenchError(
            f"{where}: block_out_channels makes {vae.scale} pixels of a latent's side, and a "
            "transformer that is told the size of images (use_additional_conditions) takes 8"
        )


def pipeline_folder(name: str, patterns: tuple[str, ...] = CONFIG_FILES) -> Path:
    """Return the local folder of a pipeline; of a hub id, files of ``patterns`` are fetched.

    Raises BenchError for an unknown name, an incomplete folder and a failed download.
    """
    if name in FEATURES:
        return Path(str(files("mpqbench.assets"))) / name
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
        raise BenchError(f"model folder {path}{is_file}: give the folder of a saved pipeline")
    known = [*FEATURES, *HUB_NAMES, *(RANDOM_PREFIX + key for key in CONFIGURATIONS)]
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


def _read_index(folder: Path) -> tuple[dict[str, Any], Architecture]:
    """Return ``model_index.json`` of a supported pipeline whose parts are there."""
    path = folder / "model_index.json"
    if not path.is_file():
        raise BenchError(f"{folder} is not a pipeline folder: model_index.json is missing")
    index = read_json(path)
    architecture = architecture_of_pipeline(index.get("_class_name"))
    if architecture is None:
        known = tuple(name for each in ARCHITECTURES for name in each.pipelines)
        raise _not_supported(path, "_class_name", index.get("_class_name"), known)
    for part in _FILES:
        if not (folder / part).is_dir():
            raise BenchError(f"{folder} is not a pipeline folder: {part} is missing")
    return index, architecture


def _classes(architecture: Architecture) -> dict[str, tuple[str, ...]]:
    """Return the classes that each part of a pipeline may have."""
    parts = architecture.classes, (architecture.autoencoder,), architecture.schedulers
    return dict(zip(_FILES, parts, strict=True))


def _read_config(path: Path, part: str, architecture: Architecture) -> Any:
    content = read_json(path)
    name = str(content.get("_class_name"))
    _check_class(path, "_class_name", content.get("_class_name"), _classes(architecture)[part])
    cls = architecture.config if part == "transformer" else _PARTS[name]
    known = {
        key: value
        for key, value in content.items()
        if key in cls.model_fields or not (key.startswith("_") or value in _OFF)
    }
    return validate(cls, known, str(path))


def _check_class(path: Path, key: str, found: object, classes: tuple[str, ...]) -> None:
    if found not in classes:
        raise _not_supported(path, key, found, classes)


def _not_supported(path: Path, key: str, found: object, known: tuple[str, ...]) -> BenchError:
    shown = f"is '{found}'" if isinstance(found, str) else "names no class"
    return BenchError(
        f"{path}: {key} {shown[:200]}, which is not supported (supported: {', '.join(known)})"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises BenchError for anything else, and for a key twice.

    Only UTF-8 without a byte-order mark is read, as diffusers does.
    """
    if not path.is_file():
        raise BenchError(f"{path} is missing: the pipeline folder is incomplete")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=_constant, object_pairs_hook=_unique)
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


def _constant(text: str) -> float:
    if text == "-Infinity":  # diffusers writes lambda_min_clipped of a DPM-Solver so
        return -math.inf
    raise ValueError(f"{text} is not a number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has the key '{key}' twice")
        found[key] = value
    return found
