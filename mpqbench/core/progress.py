"""Progress of long work: bars on a terminal, plain lines elsewhere, nothing when asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]

LINE_EVERY_SECONDS = 10.0


class Reporter(Protocol):
    """Where a run tells what it is doing."""

    def say(self, line: str) -> None:
        """One line that stays."""
        ...

    def stage(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Around ``total`` units of work; call the given function as they end."""
        ...


class Quiet:
    """Says nothing."""

    def say(self, line: str) -> None:
        pass

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        yield lambda done: None


class PlainLines:
    """One line per event, and one every ten seconds of a stage: for logs and batch systems."""

    def say(self, line: str) -> None:
        print(line, flush=True)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        began = told = time.monotonic()
        done = 0

        def advance(units: int) -> None:
            nonlocal told, done
            done += units
            now = time.monotonic()
            if now - told >= LINE_EVERY_SECONDS:
                told = now
                print(f"  {title}: {done}/{total} after {now - began:.0f} s", flush=True)

        yield advance


class Bars:
    """rich bars, one per stage, that vanish when the stage is over."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            transient=True,
        )

    def say(self, line: str) -> None:
        self._progress.console.print(line, highlight=False)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        with self._progress:
            task = self._progress.add_task(title, total=total)
            try:
                yield lambda units: self._progress.advance(task, units)
            finally:
                self._progress.remove_task(task)


def reporter() -> Quiet | PlainLines | Bars:
    """Bars on a terminal, plain lines otherwise."""
    return Bars() if sys.stdout.isatty() else PlainLines()
