"""Embeddings of prompts by the text encoders of a pipeline, made once and kept.

Text encoders are loaded for this alone and given up afterwards: none has to fit beside the
transformer.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..core.cache import Cache
from ..core.errors import BenchError
from ..core.files import reason_of
from ..core.packages import check_package
from ..core.settings import digest_of
from .architectures import architecture_of
from .configs import CONFIG_FILES, pipeline_folder, read_json
from .prompts import PromptTable

BATCH = 8  # prompts that are encoded together
ENCODER_FILES = ("text_encoder*/*", "tokenizer*/*")


def read_prompts(path: Path) -> tuple[str, ...]:
    """Return the prompts in a text file, one on each line; empty lines are left out.

    Raises BenchError for a file that cannot be read, is not UTF-8 or holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise BenchError(f"--prompts {path} is not UTF-8: write one prompt on each line") from None
    except OSError as error:
        raise BenchError(f"--prompts {path} cannot be read: {reason_of(error)}") from None
    texts = tuple(line.strip() for line in lines if line.strip())
    if not texts:
        raise BenchError(f"--prompts {path} holds no prompt: write one on each line")
    return texts


def encode_prompts(
    model: str, texts: tuple[str, ...], bare: Any, cache: Cache | None
) -> PromptTable:
    """Return the embeddings of ``texts`` and of the empty prompt, from ``cache`` where they are.

    ``bare`` is the model's transformer without weights. Entries of the cache are named by the
    prompts and by the sizes of the encoders' files. Raises BenchError where the package
    ``transformers`` or an encoder is missing.
    """
    check_package("transformers", "--prompts")
    folder = pipeline_folder(model, (*CONFIG_FILES, *ENCODER_FILES))
    files = [path for pattern in ENCODER_FILES for path in sorted(folder.glob(pattern))]
    if not files:
        raise BenchError(
            f"{folder} has no text encoder: give --prompt-embeddings in place of --prompts"
        )
    sizes = [[path.name, path.parent.name, path.stat().st_size] for path in files]
    make = partial(_encoded, folder, (*texts, ""), bare)
    parts = make() if cache is None else cache.at("prompts").get(digest_of([texts, sizes]), make)
    return PromptTable(texts=texts, **parts)


@torch.inference_mode()
def _encoded(folder: Path, texts: tuple[str, ...], bare: Any) -> dict[str, torch.Tensor | None]:
    from diffusers import DiffusionPipeline

    index = read_json(folder / "model_index.json")
    absent = {name: None for name, entry in index.items() if entry == [None, None]}
    given = {**absent, "transformer": bare, "vae": None}  # widths are read from the transformer
    try:
        pipeline: Any = DiffusionPipeline.from_pretrained(folder, **given)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BenchError(f"the text encoders of {folder} cannot be loaded ({reason})") from None
    parts = [
        architecture_of(bare).encode(pipeline, list(texts[at : at + BATCH]))
        for at in range(0, len(texts), BATCH)
    ]
    found: dict[str, torch.Tensor | None] = {}
    for name in ("embeddings", "pooled", "mask"):
        pieces = [part for part in (getattr(each, name) for each in parts) if part is not None]
        found[name] = torch.cat(pieces).cpu() if pieces else None
    return found
