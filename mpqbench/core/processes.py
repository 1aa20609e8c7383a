"""Processes: which one this is, and whether another one of the same machine has ended."""

import hashlib
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

_SAME_START = 2.0  # seconds: without Linux, from a clock that is adjusted


@cache
def machine() -> str:
    """Return eight hex digits for the machine as its processes see it.

    Two processes that have these in common see each other's numbers. The digits depend on the name
    of the host, on its last start and on the space of process numbers, since containers of several
    machines may have one host name.
    """
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        try:
            parts.append(read())
        except OSError:  # no Linux
            parts.append("")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def started(pid: int) -> float | None:
    """Return when the process ``pid`` of this machine began, in seconds; ``None`` if it ended.

    Under Linux these are seconds since the machine was started, which no clock that is set changes;
    elsewhere they are those of the clock.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        began = _since_boot(pid)
        return float(process.create_time()) if began is None else began
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:  # it is there and belongs to another user
        return 0.0


def memory_of(pid: int) -> int:
    """Return the bytes of memory that a process and those that it started hold; 0 if it ended."""
    import psutil

    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += each.memory_info().rss
    return total


def _since_boot(pid: int) -> float | None:
    """Return the seconds from the start of the machine to that of a process; ``None`` elsewhere."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(line.rpartition(")")[2].split()[19])  # field 22; the second may hold anything
        return ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def has_ended(pid: int, since: float | None = None) -> bool:
    """Return whether the process ``pid`` of this machine has ended.

    With ``since``, as of ``started``, a later process of the same number is another one.
    """
    now = started(pid)
    return now is None or bool(since and now and abs(now - since) > _SAME_START)
