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
        on_gpu, done = self.device.startswith("cuda"), threading.Event()
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        watcher = threading.Thread(target=self._watch_process, args=(done,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            if on_gpu:
                self.peak_mb = round(torch.cuda.max_memory_allocated(self.device) / 1e6, 1)

    def _watch_process(self, done: threading.Event) -> None:
        process, ended = psutil.Process(), False
        while not ended:
            ended = done.wait(SAMPLE_SECONDS)
            self.peak_mb = max(self.peak_mb, round(process.memory_info().rss / 1e6, 1))
