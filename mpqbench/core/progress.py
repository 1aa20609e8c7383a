"""Progress of long work: bars on a terminal, plain lines elsewhere, or nothing."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .terminal import console, echo, one_line

Advance = Callable[[int], None]

LINE_EVERY_SECONDS = 10.0


class Reporter:
    """Receives the messages and the progress of a run, and prints nothing."""

    def say(self, line: str) -> None:
        """Print one line that stays."""

    def say_other(self, line: str) -> None:
        """Say what another process on the same folder does."""
        self.say(line)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Show a stage of ``total`` units; call the given function with the units that end."""
        yield lambda done: None


class PlainLines(Reporter):
    """Prints a line per event, and one every ten seconds of a stage, as for log files."""

    def say(self, line: str) -> None:
        echo(one_line(line))

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        began = printed = time.monotonic()
        done = 0

        def advance(units: int) -> None:
            nonlocal printed, done
            done += units
            now = time.monotonic()
            if now - printed >= LINE_EVERY_SECONDS:
                printed = now
                echo(f"  {one_line(title)}: {done}/{total} after {now - began:.0f} s")

        yield advance


class Bars(Reporter):
    """Draws rich's progress bars, one per stage, which vanish at the end of the stage."""

    def __init__(self) -> None:
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}", markup=False), progress.BarColumn(),
            progress.MofNCompleteColumn(), progress.TimeRemainingColumn(),
        )  # fmt: skip
        self._progress = progress.Progress(*columns, console=console(), transient=True)
        self._stages = 0  # that are shown: several workers have one each
        self._lock = threading.RLock()

    def say(self, line: str) -> None:
        self._progress.console.print(one_line(line))

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        self._count(1)
        task = self._progress.add_task(title, total=total)
        try:
            yield lambda units: self._progress.advance(task, units)
        finally:
            self._progress.remove_task(task)
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._lock:
            self._stages += more
            if self._stages == max(more, 0):
                (self._progress.start if more > 0 else self._progress.stop)()


def reporter() -> Reporter:
    """Choose bars on a terminal, plain lines otherwise."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return Bars() if is_terminal else PlainLines()
