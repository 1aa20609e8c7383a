"""Read the weights of one part of a pipeline: every weight there, of its shape, and finite."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open

from ..core.errors import BenchError
from .configs import read_json

WEIGHT_FILES = ("transformer/*.safetensors", "vae/*.safetensors")
_STEM = "diffusion_pytorch_model"
_DTYPES = ("F64", "F32", "F16", "BF16")
# Attention of autoencoders that were saved before diffusers 0.18, and its names today.
_RENAMED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.",
            ".proj_attn.": ".to_out.0."}  # fmt: skip


def load_part(folder: Path, cls: Any, config: BaseModel) -> Any:
    """Load a network of class ``cls`` in float32 on the CPU, in evaluation mode.

    Raises BenchError with the file and the tensor where weights are missing, unknown, damaged, of
    another shape or type than ``config`` says, or not finite.
    """
    content = {key: value for key, value in config if value is not None}
    try:
        with torch.device("meta"):
            shapes = _shapes(cls.from_config(content))
    except Exception as error:  # diffusers raises many types for a configuration
        reason = " ".join(str(error).split())[:300]
        raise BenchError(
            f"{folder / 'config.json'} describes no {cls.__name__} ({reason})"
        ) from None
    files = _weight_files(folder)
    state: dict[str, torch.Tensor] = {}
    for path in files:
        state |= _read(path, shapes)
    name = cls.__name__
    for names, what in (
        (shapes.keys() - state, f"lacks weights of {name}"),
        (state.keys() - shapes, f"holds weights that {name} does not have"),
    ):
        if names:
            listed = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
            raise BenchError(f"{folder} {what} ({len(names)}): {listed}")
    with torch.random.fork_rng(devices=[]):
        module = cls.from_config(content)
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


def _shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _weight_files(folder: Path) -> list[Path]:
    """Return the one set of weights in ``folder``: a file or shards, of one variant.

    The plain set is taken where there are variants (such as fp16) beside the set.
    """
    plain = [folder / f"{_STEM}.safetensors", folder / f"{_STEM}.safetensors.index.json"]
    found = [path for path in plain if path.is_file()]
    if not found:
        variants = [*folder.glob(f"{_STEM}.*.safetensors")]
        variants += folder.glob(f"{_STEM}.safetensors.index.*.json")
        found = sorted(path for path in variants if "-of-" not in path.name)
    if not found:
        stray = any(folder.glob("*.bin"))
        hint = " (.bin files are not read: save with safe_serialization=True)" if stray else ""
        raise BenchError(f"{folder} holds no {_STEM}.safetensors weights{hint}")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise BenchError(f"{folder} holds several sets of weights, {names}: keep one of them")
    return _shards(found[0]) if found[0].suffix == ".json" else found


def _shards(index: Path) -> list[Path]:
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, Mapping) or not all(isinstance(f, str) for f in placed.values()):
        raise BenchError(f"{index}: weight_map must give the file of every weight")
    paths = [index.parent / name for name in sorted(set(placed.values()))]
    for path in paths:
        if path.parent != index.parent or not path.is_file():
            raise BenchError(f"{path} is missing, and {index.name} names the file: fetch it again")
    return paths


def _read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Return the tensors of one file in float32, under the names of today."""
    with path.open("rb") as stream:
        if stream.read(20).startswith(b"version https://git"):
            raise BenchError(f"{path} is a pointer of Git LFS, not the weights: run `git lfs pull`")
    found = {}
    try:
        with safe_open(path, framework="pt") as content:
            for old in content.keys():  # noqa: SIM118 (no mapping)
                name = _renamed(old, shapes)
                part = content.get_slice(old)
                _check(f"{path}: {old}", part, shapes.get(name))
                found[name] = content.get_tensor(old).float()
    except (SafetensorError, OSError) as error:
        raise BenchError(f"{path} is truncated or damaged ({error}): fetch it again") from None
    for name, tensor in found.items():
        if not tensor.isfinite().all():
            raise BenchError(f"{path}: {name} holds NaN or infinite weights")
    return found


def _renamed(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    for old, new in _RENAMED.items():
        if name not in shapes and name.replace(old, new) in shapes:
            return name.replace(old, new)
    return name


def _check(where: str, part: Any, shape: tuple[int, ...] | None) -> None:
    if part.get_dtype() not in _DTYPES:
        kinds = ", ".join(_DTYPES)
        raise BenchError(f"{where} is of type {part.get_dtype()}: weights must be of {kinds}")
    found = tuple(part.get_shape())
    if shape is not None and found != shape:
        raise BenchError(f"{where} has shape {list(found)}, the configuration needs {list(shape)}")
