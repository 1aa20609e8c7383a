"""Run a suite on SLURM: dask-jobqueue submits the batch jobs that Dask's workers run in.

    python slurm.py my-suite.yaml /shared/runs/mine

Start this where batch jobs can be submitted and reach this machine, with a folder that all nodes
see. It needs no GPU itself. What to change: the partition, the memory and the time.
"""

import sys
from pathlib import Path
from typing import Any

from dask_jobqueue import SLURMCluster

import mpqbench

WORKERS = 8


def cluster(folder: Path, **changes: Any) -> SLURMCluster:
    """Return a cluster whose workers are batch jobs of one GPU; its keys are in ``folder``."""
    settings: dict[str, Any] = {
        "queue": "gpu",
        "walltime": "04:00:00",
        "cores": 1,  # one task at a time: a worker has one model
        "processes": 1,
        "memory": "64GB",
        "job_cpu": 4,
        "job_extra_directives": ["--gres=gpu:1"],
        # A worker ends before the batch job does; Dask gives what it ran to another.
        "worker_extra_args": ["--resources", "GPU=1", "--lifetime", "230m"],
        "job_script_prologue": ["export OMP_NUM_THREADS=4"],
        "log_directory": str(folder / "slurm"),
        "security": True,  # TLS with a new key, which only the owner of ``folder`` can read
        "shared_temp_directory": str(folder),
    }
    return SLURMCluster(**settings | changes)


if __name__ == "__main__":
    suite, out = sys.argv[1], Path(sys.argv[2]).absolute()
    out.mkdir(parents=True, exist_ok=True)
    with cluster(out) as workers:
        workers.scale(jobs=WORKERS)
        results = mpqbench.run(suite, out=out, device="cuda", scheduler=workers)
        results.write()
    sys.exit(int(results.has_failed))
