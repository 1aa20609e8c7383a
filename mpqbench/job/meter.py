"""Seconds per stage and peak memory of one job."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SAMPLE_SECONDS = 0.02


class Meter:
    """Time named stages and watch memory while it is entered.

    ``peak_mb`` is in MB of 10^6 bytes: what the GPU's allocator held at most on ``cuda``, the
    process's resident set (read 50 times a second) otherwise.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._peak_bytes = 0
        self._stop = threading.Event()

    @property
    def peak_mb(self) -> float:
        """Highest memory seen so far, MB."""
        return round(self._peak_bytes / 1e6, 1)

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

    def __enter__(self) -> "Meter":
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.startswith("cuda"):
            import torch

            self._peak_bytes = torch.cuda.max_memory_allocated(self.device)
        else:
            self._stop.set()
            self._watcher.join()

    def _watch(self) -> None:
        import psutil

        process = psutil.Process()
        while True:
            self._peak_bytes = max(self._peak_bytes, process.memory_info().rss)
            if self._stop.wait(SAMPLE_SECONDS):
                return
