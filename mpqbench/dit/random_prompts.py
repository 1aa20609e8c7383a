"""Random embeddings of prompts, for models with random weights."""

import torch

from .architecture import PromptShape
from .prompts import PromptTable

RANDOM_PROMPTS = 8


def random_prompts(shape: PromptShape) -> PromptTable:
    """Return seeded random embeddings of ``RANDOM_PROMPTS`` prompts, and of a null prompt.

    Where padding is masked, prompt i has half of the tokens and i more.
    """
    generator, rows = torch.Generator().manual_seed(0), RANDOM_PROMPTS + 1
    embeddings = torch.randn(rows, shape.tokens, shape.width, generator=generator)
    pooled, mask = None, None
    if shape.pooled is not None:
        pooled = torch.randn(rows, shape.pooled, generator=generator)
    if shape.masked:
        lengths = (-(-shape.tokens // 2) + torch.arange(rows)).clamp(max=shape.tokens)
        mask = (torch.arange(shape.tokens) < lengths[:, None]).long()
    texts = tuple(f"random {number}" for number in range(RANDOM_PROMPTS))
    return PromptTable(embeddings, texts, pooled, mask, has_texts=False)
