"""Additive tables on disk: computed once for all searchers of a run, and charged to each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import BenchError
from ..core.files import write_atomic


@dataclass(frozen=True)
class StoredTable:
    """Scores by group, what they took in forwards and seconds, and the price asked in advance."""

    table: Mapping[str, np.ndarray]
    forwards: float
    seconds: float
    price: float


class TableStore:
    """Tables in ``folder``, one JSON file for each ``mark``, a digest of all they depend on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, mark: str) -> StoredTable | None:
        """The table of ``mark``, or ``None``. Raises BenchError where the file is damaged."""
        path = self._path(mark)
        if not path.is_file():
            return None
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            table = {group: np.array(own, dtype=float) for group, own in data["table"].items()}
            numbers = [float(data[name]) for name in ("forwards", "seconds", "price")]
            if not all(map(math.isfinite, numbers)):
                raise ValueError("a number is not finite")
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise BenchError(
                f"the table of scores {path} is corrupt ({error}): delete it and run again"
            ) from None
        return StoredTable(table, *numbers)

    def write(self, mark: str, stored: StoredTable) -> None:
        """Keeps ``stored``; JSON numbers come back bit by bit."""
        content: dict[str, Any] = {name: getattr(stored, name) for name in ("forwards", "seconds")}
        content["price"] = stored.price
        content["table"] = {group: own.tolist() for group, own in stored.table.items()}
        write_atomic(self._path(mark), json.dumps(content).encode())

    def _path(self, mark: str) -> Path:
        return self.folder / f"{mark}.json"
