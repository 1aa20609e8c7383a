"""A DiT as a chain: embedding, then block after block."""

from __future__ import annotations

from typing import Any

import torch


def embed(transformer: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents (n, c, h, w) to the input of the first block (n, tokens, width)."""
    return transformer.pos_embed(latents)


def run_block(
    block: Any, hidden: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """One block, as diffusers' ``DiTTransformer2DModel.forward`` calls it.

    hidden: (n, tokens, width), the output too; times and classes: (n,).
    """
    return block(hidden, timestep=times, class_labels=classes)
