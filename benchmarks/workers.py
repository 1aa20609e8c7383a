"""How well many workers share the shards of one job, where a shard takes time and nothing else.

Run ``python -m benchmarks.workers``. Workers are threads that claim shards in one folder as the
processes of a run do, and sleep in place of sampling. The second table computes the efficiency
with the overhead that was measured, for shards that take longer.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from pathlib import Path

import numpy as np
import pandas as pd

from mpqbench.core.claims import Holder
from mpqbench.core.files import digest_of_bytes, write_atomic
from mpqbench.job.helping import claimed_shards
from mpqbench.job.samples import SampleStore
from mpqbench.job.sharing import ShardPlan, Sharing, name_of

SHARD = 256  # images
SPREAD = 0.1  # standard deviation of the logarithm of a shard's seconds
CONTENT = bytes(1 << 16)
OVERHEAD = "overhead (ms of a processor per shard)"


@dataclass
class Folder:
    """A folder of results in which one job offers ``shards`` shards."""

    path: Path
    shards: int

    def __post_init__(self) -> None:
        self.holder = Holder.here("benchmark")
        ranges = tuple((start * SHARD, (start + 1) * SHARD) for start in range(self.shards))
        self.plan = ShardPlan("benchmark", ranges, {}, "", self.holder.machine, self.holder.pid)
        self.samples = SampleStore(self.path / "samples", "benchmark", SHARD)
        self.samples.note({})
        self.sharing = Sharing(self.path / "claims")
        self.sharing.publish(self.plan)

    def work(self, seconds: np.ndarray) -> int:
        """Make the shards that no other worker makes; return their number."""
        made = 0
        for shard in claimed_shards(self.sharing, self.samples, self.plan, self.holder):
            time.sleep(seconds[shard[0] // SHARD])
            name = f"part-{name_of(shard)}-{digest_of_bytes(CONTENT)}.npz"
            write_atomic(self.samples.folder / name, CONTENT)
            made += 1
        return made


def drawn(shards: int, mean: float) -> np.ndarray:
    """Draw the seconds of each shard, log-normal."""
    rng = np.random.default_rng(shards)
    return mean * np.exp(SPREAD * rng.standard_normal(shards) - SPREAD**2 / 2)


def measured(workers: int, per_worker: int, mean: float) -> dict[str, float]:
    """Return what ``workers`` threads need for ``per_worker`` shards each."""
    seconds, made = drawn(workers * per_worker, mean), []
    with tempfile.TemporaryDirectory() as folder:
        place = Folder(Path(folder), len(seconds))
        threads = [
            threading.Thread(target=lambda: made.append(place.work(seconds)))
            for _ in range(workers)
        ]
        begun, used = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall, used = time.perf_counter() - begun, time.process_time() - used
    if sum(made) != len(seconds):
        raise SystemExit(f"{sum(made)} shards were made, and there are {len(seconds)}")
    return {
        "workers": workers,
        "shards": len(seconds),
        "efficiency": seconds.sum() / workers / wall,
        "without overhead": seconds.sum() / workers / makespan(seconds, workers),
        OVERHEAD: 1000 * used / len(seconds),
    }


def makespan(seconds: Sequence[float] | np.ndarray, workers: int, overhead: float = 0) -> float:
    """Return when the last shard ends if the worker that is free first takes the next one."""
    free = [0.0] * workers
    heapify(free)
    for length in seconds:
        heappush(free, heappop(free) + length + overhead)
    return max(free)


def curve(rows: Sequence[dict[str, float]], per_worker: int, mean: float) -> pd.DataFrame:
    """Return the efficiency of shards of ``mean`` seconds and more, by the measured overhead."""
    table: dict[str, dict[int, float]] = {}
    for row in rows:
        workers, overhead = int(row["workers"]), row[OVERHEAD] / 1000
        for longer in (mean, 10 * mean, 100 * mean):
            seconds = drawn(workers * per_worker, longer)
            ends = makespan(seconds, workers, overhead)
            table.setdefault(f"{longer:g} s", {})[workers] = seconds.sum() / workers / ends
    return pd.DataFrame(table).rename_axis("workers")


@dataclass(frozen=True)
class Campaign:
    """Jobs of DiT-XL/2 with 50,000 images: seconds of what each needs, on one GPU.

    ``prepare`` is calibration, search and rounding of a job, ``join`` what another process loads
    and fits before it helps, ``shard`` 256 images.
    """

    jobs: int
    prepare: float = 1800
    join: float = 60
    shard: float = 150
    shards: int = 196

    def row(self, workers: int) -> dict[str, float]:
        """Return how long ``workers`` need for all jobs, who take jobs first and then help."""
        left, ready = [self.shards] * self.jobs, [np.inf] * self.jobs
        making = [0] * self.jobs
        begun, ends = 0, 0.0
        events: list[tuple[float, int, int]] = [(0.0, worker, -1) for worker in range(workers)]
        while events:
            now, worker, job = heappop(events)
            if job >= 0 and left[job]:
                left[job] -= 1
                ends = max(ends, now + self.shard)
                heappush(events, (now + self.shard, worker, job))
                continue
            if job >= 0:
                making[job] -= 1
            if begun < self.jobs:
                job, begun, wait = begun, begun + 1, self.prepare
                ready[job] = now + wait
            else:
                offered = [j for j in range(self.jobs) if left[j] and ready[j] <= now]
                job = max(offered, key=lambda j: left[j] / (making[j] + 1), default=-1)
                wait = self.join
                if job < 0:
                    later = [ready[j] for j in range(self.jobs) if left[j]]
                    if later:
                        heappush(events, (min(later), worker, -1))
                    continue
            making[job] += 1
            heappush(events, (now + wait, worker, job))
        needed = self.jobs * (self.prepare + self.shards * self.shard)
        return {
            "GPUs": workers,
            "jobs": self.jobs,
            "preparation (min)": self.prepare / 60,
            "hours": ends / 3600,
            "efficiency": needed / workers / ends,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64, 256])
    parser.add_argument("--per-worker", type=int, default=8, help="shards of each worker")
    parser.add_argument("--seconds", type=float, default=2, help="mean time of a shard")
    given = parser.parse_args()
    rows = [measured(workers, given.per_worker, given.seconds) for workers in given.workers]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"))
    print()
    print(curve(rows, given.per_worker, given.seconds).to_markdown(floatfmt=".3f"))
    print()
    plans = [(50, 50), (50, 400), (400, 400), (400, 2000), (400, 10000)]
    table = [Campaign(jobs).row(workers) for jobs, workers in plans]
    table.append(Campaign(400, prepare=60).row(10000))
    print(
        pd.DataFrame(table).to_markdown(index=False, floatfmt=(".0f", ".0f", ".0f", ".1f", ".2f"))
    )


if __name__ == "__main__":
    main()
