"""Prompts of an embedded model: words, whose embeddings were trained with the model."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from .prompts import PromptTable

WORDS = "words"  # the folder of the table inside a pipeline's folder


def read_words(folder: Path, kind: str = "measured") -> PromptTable:
    """Return the prompts of a list of ``prompts.json``: ``measured``, ``trained`` or ``held_out``.

    Images are sampled for the ``measured`` ones, which are trained as well; ``trained`` has the
    others.

    A prompt is a fixed number of tokens: its words, then padding; the null prompt is one token of
    its own. An embedding is the sum of those of the word and of its place; the pooled one is the
    mean over the words, without place and padding.
    """
    facts = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    lists = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
    state = {k: v.float() for k, v in load_file(folder / "embeddings.safetensors").items()}
    index = {word: number for number, word in enumerate(facts["words"])}
    texts = tuple(text for text, _ in lists[kind])
    labels = torch.tensor([label for _, label in lists[kind]])
    rows = [[index[word] for word in text.split()] for text in texts]
    rows.append([index[facts["null"]]])
    padding = index[facts["padding"]]
    tokens = torch.tensor([row + [padding] * (facts["tokens"] - len(row)) for row in rows])
    embedded = state["table"][tokens]
    is_word = (tokens != padding).unsqueeze(-1)
    pooled = (embedded * is_word).sum(1) / is_word.sum(1)
    return PromptTable(embedded + state["places"], texts, pooled, labels=labels)
