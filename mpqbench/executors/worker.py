"""One of the processes of ``processes``, which tells it what to run: ``main``.

Its standard input is a pickled task; its argument is the number of the file for progress.
"""

import contextlib
import io
import json
import os
import pickle
import signal
import sys
import threading
from typing import Any

from ..core.errors import BenchError
from ..core.stop import EXIT_CODE, Terminated, sigterm_raises
from .base import InProcess, Telling


class Printed(io.TextIOBase):
    """Standard output that the process which started this one prints, as a record without room."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling

    def write(self, text: str) -> int:
        self._telling.tell(out=text)
        return len(text)


class TellingPipe(Telling):
    """Sends events as lines of JSON."""

    def __init__(self, file: int) -> None:
        self._lines = os.fdopen(file, "w", encoding="utf-8")

    def tell(self, **event: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # this process is ended as well
            self._lines.write(json.dumps(event) + "\n")
            self._lines.flush()


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, and end."""
    while os.read(sys.stdin.fileno(), 1):  # not by a buffer, whose lock would outlive the thread
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Execute the task; return the exit code."""
    telling = TellingPipe(int(sys.argv[1]))
    executor = InProcess(telling)
    executor.submit(pickle.load(sys.stdin.buffer))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with sigterm_raises(), contextlib.redirect_stdout(Printed(telling)):
            list(executor.as_completed())
    except BenchError as error:
        telling.tell(error=str(error))
        return 2
    except (Terminated, KeyboardInterrupt):
        return EXIT_CODE
    return 0
