"""The state of a training run on disk, so that one that was stopped goes on where it was."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..core.errors import BenchError
from ..core.files import write_atomic

SAVE_EVERY_SECONDS = 60.0


@dataclass
class Checkpoint:
    """One file, written in one step, never within a training step: what a kill leaves is whole.

    ``mark`` says what it belongs to: one of another mark is not read. Without a path nothing is
    kept.
    """

    path: Path | None = None
    mark: str = ""
    every: float = SAVE_EVERY_SECONDS
    _saved: float = field(default_factory=time.monotonic)

    def of(self, part: str) -> Checkpoint:
        """The same file, belonging to ``part`` of what this one belongs to."""
        return replace(self, mark=f"{self.mark}/{part}")

    @property
    def due(self) -> bool:
        """Whether so much time has passed that it should be saved again."""
        return self.path is not None and time.monotonic() - self._saved >= self.every

    @property
    def exists(self) -> bool:
        """Whether there is a file, of this mark or another."""
        return self.path is not None and self.path.is_file()

    def save(self, state: dict[str, Any]) -> None:
        """``state`` of tensors, numbers, strings and containers of these."""
        if self.path is None:
            return
        content = io.BytesIO()
        torch.save({"mark": self.mark, "state": state}, content)
        write_atomic(self.path, content.getvalue())
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """What was saved last, on the CPU, or ``None``. Raises BenchError for a damaged file."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            return content["state"] if content["mark"] == self.mark else None
        except Exception as error:  # torch raises many unrelated types
            raise BenchError(
                f"checkpoint {self.path} cannot be read ({type(error).__name__}): delete it and "
                "run again"
            ) from None
