"""Seconds per stage and peak memory of one job."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

SAMPLE_SECONDS = 0.02


class Meter:
    """Time named stages and watch memory inside ``watch``.

    ``peak_mb`` is in MB of 10^6 bytes: what the GPU's allocator held at most on ``cuda``, the
    process's resident set (read 50 times a second) otherwise.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.peak_mb = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[name]``."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Add time to ``seconds[name]``."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 3)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Set ``peak_mb`` to the highest memory while inside."""
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
            try:
                yield
            finally:
                self._saw(torch.cuda.max_memory_allocated(self.device))
            return
        done = threading.Event()
        watcher = threading.Thread(target=self._read, args=(done,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _read(self, done: threading.Event) -> None:
        process = psutil.Process()
        while not done.wait(SAMPLE_SECONDS):
            self._saw(process.memory_info().rss)
        self._saw(process.memory_info().rss)

    def _saw(self, size: int) -> None:
        self.peak_mb = max(self.peak_mb, round(size / 1e6, 1))
