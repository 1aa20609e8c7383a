"""SIGTERM, with which batch systems end a job, as an exception: files and claims are tidied up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

EXIT_CODE = 128 + signal.SIGTERM  # 143, as a shell tells of a process that SIGTERM ended


class Terminated(BaseException):
    """The process was asked to end. No ``except Exception`` of a plugin catches it."""


def _raise(*_: Any) -> NoReturn:
    raise Terminated


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Raise ``Terminated`` in the main thread on SIGTERM while inside; nothing in other threads."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
