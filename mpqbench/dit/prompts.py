"""Embeddings of prompts, which a transformer is conditioned on in place of classes."""

from dataclasses import dataclass
from typing import Any

import torch

from ..core.errors import BenchError


@dataclass(frozen=True)
class PromptTable:
    """Embeddings of m prompts and, in the last row, of the null prompt.

    ``embeddings`` (m + 1, tokens, width); ``pooled`` (m + 1, pooled width) and ``mask``
    (m + 1, tokens), 1 for a token and 0 for padding, where the architecture takes them. ``texts``
    are the prompts. The table stays on the CPU: the rows of a batch are moved when they are used.
    """

    embeddings: torch.Tensor
    texts: tuple[str, ...]
    pooled: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings) - 1

    @property
    def tokens(self) -> int:
        """Number of tokens of a prompt, with padding."""
        return self.embeddings.shape[1]

    def rows(self, prompts: torch.Tensor, like: torch.Tensor) -> "PromptRows":
        """Return the embeddings of the prompts at indices (n,), on the device and in the type."""
        at = prompts.cpu()
        embeddings = self.embeddings[at].to(like)
        pooled = None if self.pooled is None else self.pooled[at].to(like)
        mask = None if self.mask is None else self.mask[at].to(like.device)
        return PromptRows(embeddings, pooled, mask)


@dataclass(frozen=True)
class PromptRows:
    """The parts of a ``PromptTable`` for a batch."""

    embeddings: torch.Tensor
    pooled: torch.Tensor | None
    mask: torch.Tensor | None


def prompts_of(transformer: Any) -> PromptTable:
    """Return the prompts of a transformer. Raises BenchError where none were given."""
    table = given_prompts(transformer)
    if table is None:
        raise BenchError(
            f"a {type(transformer).__name__} is conditioned on prompts: give --prompts or "
            "--prompt-embeddings"
        )
    return table


def given_prompts(transformer: Any) -> PromptTable | None:
    """Return the prompts of a transformer, ``None`` where none were given."""
    found = vars(transformer).get("prompts")
    return found if isinstance(found, PromptTable) else None
