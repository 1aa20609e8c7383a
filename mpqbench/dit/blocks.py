"""The parts of a DiT's forward pass: the embedding, and one block."""

from __future__ import annotations

from typing import Any

import torch


def embed(transformer: Any, latents: torch.Tensor) -> torch.Tensor:
    """Turn latents (n, c, h, w) into the input of the first block (n, tokens, width)."""
    return transformer.pos_embed(latents)


def run_block(
    block: Any, hidden: torch.Tensor, times: torch.Tensor, classes: torch.Tensor
) -> torch.Tensor:
    """Run one block as diffusers' ``DiTTransformer2DModel.forward`` does.

    hidden and the output: (n, tokens, width); times and classes: (n,).
    """
    return block(hidden, timestep=times, class_labels=classes)
