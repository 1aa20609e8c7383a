"""All figures of a leaderboard, saved as PNG and PDF."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from .samples import LoadSamples, sample_grid, sample_rows
from .style import save
from .table import Block, Table
from .tradeoff import tradeoff


def write_figures(
    table: Table, folder: Path, load_samples: LoadSamples, kept: Callable[[str], bool]
) -> list[Path]:
    """Writes ``fd-bitops-BLOCK`` and ``samples-BLOCK`` of every block; returns the paths.

    A block without a quantized job that is done has no figure; one whose images were not
    ``kept`` has no grid.
    """
    paths: list[Path] = []
    for block, name in zip(table.blocks, block_names(table), strict=True):
        figure = tradeoff(block)
        if figure is not None:
            paths += save(figure, folder / f"fd-bitops-{name}")
        pages = sample_rows(block, kept)
        for i, rows in enumerate(pages):
            page = f"-{i + 1}" if len(pages) > 1 else ""
            paths += save(sample_grid(block, rows, load_samples), folder / f"samples-{name}{page}")
    return paths


def block_names(table: Table) -> list[str]:
    """A file name part for every block: the model, and the metric fingerprint where needed."""
    models = [_slug(block) for block in table.blocks]
    names = []
    for model, block in zip(models, table.blocks, strict=True):
        suffix = f"-{block.metric_fingerprint or 'not-measured'}"
        names.append(model + (suffix if models.count(model) > 1 else ""))
    return names


def _slug(block: Block) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", block.model).strip("-.") or "model"
