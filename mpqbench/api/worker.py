"""One of the processes of ``api.workers``, which tells it what to run: ``python -m`` this module.

Its standard input is a pickled call; its argument is the number of the file for progress.
"""

import contextlib
import io
import json
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..core.errors import BenchError
from ..core.progress import Advance, Reporter
from ..core.stop import EXIT_CODE, Terminated, sigterm_raises


class Printed(io.TextIOBase):
    """Standard output that the process which started this one prints, as a record without room."""

    def __init__(self, telling: "Telling") -> None:
        self._telling = telling

    def write(self, text: str) -> int:
        self._telling.tell(out=text)
        return len(text)


class Telling(Reporter):
    """Sends all progress to the process that started this one."""

    def __init__(self, file: int) -> None:
        self._lines = os.fdopen(file, "w", encoding="utf-8")

    def tell(self, **event: Any) -> None:
        """Send one event."""
        with contextlib.suppress(BrokenPipeError):  # this process is ended as well
            self._lines.write(json.dumps(event) + "\n")
            self._lines.flush()

    def say(self, line: str) -> None:
        self.tell(say=line)

    def say_other(self, line: str) -> None:
        """Say nothing: the other worker tells it."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        self.tell(stage=title, total=total)
        try:
            yield lambda done: self.tell(advance=done)
        finally:
            self.tell(end=title)


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, and end."""
    while os.read(sys.stdin.fileno(), 1):  # not by a buffer, whose lock would outlive the thread
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Run the call; return the exit code."""
    telling = Telling(int(sys.argv[1]))
    prepare, arguments, settings = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with sigterm_raises(), contextlib.redirect_stdout(Printed(telling)):
            prepare(*arguments, **settings, reporter=telling).run()
    except BenchError as error:
        telling.tell(error=str(error))
        return 2
    except (Terminated, KeyboardInterrupt):
        return EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
