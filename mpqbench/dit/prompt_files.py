"""Embeddings of prompts that a user brings in a file of safetensors."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..core.cache import Cache
from ..core.errors import BenchError
from ..core.files import reason_of
from ..core.protocol import Protocol
from ..core.settings import digest_of
from .architecture import PromptShape
from .architectures import architecture_of
from .encoding import encode_prompts, read_prompts
from .loading import DiTModel, meta_transformer
from .prompts import PromptTable, prompts_of
from .state import tensor_digest

# The arguments of diffusers' pipelines, and those of the null prompt.
_EMBEDDINGS, _POOLED, _MASK = "prompt_embeds", "pooled_prompt_embeds", "prompt_attention_mask"


def given_table(name: str, protocol: Protocol, cache: Cache | None) -> PromptTable | None:
    """Return the prompts that ``protocol`` gives the model ``name``, ``None`` where it gives none.

    The model need not be loaded, so that no text encoder has to fit beside the transformer. Raises
    BenchError as ``read_prompt_embeddings`` and ``encode_prompts``, and for prompts given twice.
    """
    if protocol.prompt_embeddings is not None and protocol.prompts is not None:
        raise BenchError("--prompts and --prompt-embeddings exclude each other: give one of them")
    if protocol.prompt_embeddings is not None:
        return read_prompt_embeddings(Path(protocol.prompt_embeddings), meta_transformer(name))
    if protocol.prompts is not None:
        texts = read_prompts(Path(protocol.prompts))
        return encode_prompts(name, texts, meta_transformer(name), cache)
    return None


def give_prompts(model: DiTModel, table: PromptTable | None) -> None:
    """Give a model prompts, whose digest becomes part of the model's.

    Raises BenchError where a model takes prompts and has none.
    """
    if table is not None:
        model.transformer.prompts = table
        parts = [tensor_digest(part) for part in (table.embeddings, table.pooled, table.mask)
                 if part is not None]  # fmt: skip
        model.digest = digest_of([model.digest, parts, table.texts])
    if model.architecture.prompt_shape(model.transformer) is not None:
        prompts_of(model.transformer)


def read_prompt_embeddings(path: Path, transformer: Any) -> PromptTable:
    """Return the prompts in ``path``: tensors named as the arguments of diffusers' pipelines.

    ``prompt_embeds`` (m, tokens, width), and where the architecture takes them
    ``pooled_prompt_embeds`` (m, width) and ``prompt_attention_mask`` (m, tokens); the null prompt
    (1, ...) has the names of these with ``negative_`` before them. The metadata may have the texts,
    under ``prompts``, as a JSON list. Raises BenchError with the file and the tensor at fault.
    """
    state, texts = _read(path)
    architecture = architecture_of(transformer)
    shape = architecture.prompt_shape(transformer)
    if shape is None:
        raise BenchError(
            f"--prompt-embeddings {path}: a {type(transformer).__name__} takes classes, no prompts"
        )
    parts = {
        name: _with_null(path, state, name, width, architecture.null_condition)
        for name, width in _wanted(shape).items()
    }
    embeddings = parts[_EMBEDDINGS]
    for name, part in parts.items():
        if len(part) != len(embeddings):
            raise BenchError(
                f"{path}: {name} has {len(part) - 1} prompts, {_EMBEDDINGS} {len(embeddings) - 1}"
            )
    count = len(embeddings) - 1
    if texts and len(texts) != count:
        raise BenchError(f"{path}: the metadata has {len(texts)} prompts, {_EMBEDDINGS} {count}")
    named = tuple(texts) or tuple(f"prompt {number}" for number in range(count))
    pooled, mask = parts.get(_POOLED), parts.get(_MASK)
    return PromptTable(embeddings, named, pooled, mask, has_texts=bool(texts))


def save_prompt_embeddings(path: Path, table: PromptTable) -> None:
    """Write ``table`` as ``read_prompt_embeddings`` reads it, in float32."""
    from safetensors.torch import save_file

    parts = {_EMBEDDINGS: table.embeddings, _POOLED: table.pooled, _MASK: table.mask}
    state = {}
    for name, part in parts.items():
        if part is not None:
            state[name] = part[:-1].contiguous()
            state[f"negative_{name}"] = part[-1:].contiguous()
    save_file(state, path, {"prompts": json.dumps(table.texts)})


def _wanted(shape: PromptShape) -> dict[str, int | None]:
    """Return the tensors that a file must have, with the last dimension of each."""
    wanted: dict[str, int | None] = {_EMBEDDINGS: shape.width}
    if shape.pooled is not None:
        wanted[_POOLED] = shape.pooled
    if shape.masked:
        wanted[_MASK] = None
    return wanted


def _read(path: Path) -> tuple[dict[str, torch.Tensor], list[str]]:
    try:
        with safe_open(path, framework="pt") as content:
            texts = json.loads((content.metadata() or {}).get("prompts", "[]"))
            return {name: content.get_tensor(name) for name in content.keys()}, texts  # noqa: SIM118
    except FileNotFoundError:
        raise BenchError(f"--prompt-embeddings {path} does not exist") from None
    except OSError as error:
        raise BenchError(f"--prompt-embeddings {path} cannot be read: {reason_of(error)}") from None
    except (SafetensorError, ValueError) as error:
        raise BenchError(f"--prompt-embeddings {path} is no safetensors file ({error})") from None


def _with_null(
    path: Path, state: dict[str, torch.Tensor], name: str, width: int | None, null_needed: bool
) -> torch.Tensor:
    """Return the tensor of the prompts with the row of the null prompt behind."""
    null = f"negative_{name}"
    for key in (name, null) if null_needed else (name,):
        if key not in state:
            raise BenchError(f"{path} lacks the tensor {key}")
    prompts = state[name]
    last = state[null][:1] if null in state else torch.zeros_like(prompts[:1])
    if not len(prompts):
        raise BenchError(f"{path}: {name} holds no prompt")
    if width is not None and prompts.shape[-1] != width:
        raise BenchError(
            f"{path}: {name} has width {prompts.shape[-1]}, the transformer takes {width}"
        )
    if prompts.shape[1:] != last.shape[1:]:
        raise BenchError(
            f"{path}: {null} has shape {list(last.shape)}, {name} {list(prompts.shape)}: all but "
            "the first number must agree"
        )
    if not torch.cat([prompts.flatten(), last.flatten()]).isfinite().all():
        raise BenchError(f"{path}: {name} holds NaN or infinite numbers")
    return torch.cat([prompts, last])
