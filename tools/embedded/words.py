"""Words of prompts: a table of embeddings that is trained with the transformer."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from .emoji_data import WORDS

NULL, PADDING = "<null>", "<padding>"


class Words(nn.Module):
    """Embeddings of a vocabulary, and of the place of a word in the prompt.

    A prompt is ``WORDS`` tokens: its words, then padding; the null prompt is one token of its own.
    The transformer's captions are the sums of both embeddings; the pooled one is the mean of the
    words' embeddings without place and padding.
    """

    def __init__(self, vocabulary: Iterable[str], width: int = 128) -> None:
        super().__init__()
        self.vocabulary = (NULL, PADDING, *vocabulary)
        self.index = {word: number for number, word in enumerate(self.vocabulary)}
        self.table = nn.Embedding(len(self.vocabulary), width)
        self.places = nn.Parameter(torch.randn(WORDS, width))

    def tokens(self, prompt: str) -> torch.Tensor:
        """Return the tokens int64 (WORDS,) of a prompt; an empty one is the null prompt.

        Raises ValueError for a word that is not in the vocabulary and for too many words.
        """
        words = prompt.lower().split() or [NULL]
        unknown = [word for word in words if word not in self.index]
        if unknown:
            raise ValueError(f"'{unknown[0]}' of prompt '{prompt}' is not in the vocabulary")
        if len(words) > WORDS:
            raise ValueError(f"prompt '{prompt}' has {len(words)} words, at most {WORDS} fit")
        padded = words + [PADDING] * (WORDS - len(words))
        return torch.tensor([self.index[word] for word in padded])

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return captions (B, WORDS, width) and pooled embeddings (B, width) of tokens."""
        embedded = self.table(tokens)
        is_word = (tokens != self.index[PADDING]).unsqueeze(-1)
        pooled = (embedded * is_word).sum(1) / is_word.sum(1)
        return embedded + self.places, pooled

    def save(self, folder: Path) -> None:
        """Write ``words.json`` and ``embeddings.safetensors`` in float16."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"tokens": WORDS, "null": NULL, "padding": PADDING, "words": self.vocabulary}
        (folder / "words.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        state = {"table": self.table.weight, "places": self.places}
        file = folder / "embeddings.safetensors"
        save_file({key: value.detach().half() for key, value in state.items()}, file)
        file.chmod(0o644)  # safetensors makes it private to the user
