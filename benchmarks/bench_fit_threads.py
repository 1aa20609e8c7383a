"""Seconds of the stages that fit, with one torch thread and with more, and whether results agree.

Run ``python benchmarks/bench_fit_threads.py [METHOD ...]``. Each method runs on the smoke protocol
in a process of its own for each number of threads. Fits run on one thread whatever the number is;
with ``--fit-threads`` they run on all threads of the process, to show what one thread costs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

STAGES = ("calibrate", "search", "quantize", "correct", "sample")
METHODS = ("gptq", "quarot", "svdquant", "treeq")


def run(method: str, folder: Path, images: int, fit_threads: bool) -> None:
    """Run one method at W3A3 and print its seconds, FD and digests as JSON."""
    from contextlib import nullcontext

    import numpy as np

    from mpqbench import api
    from mpqbench.job import guard, stages

    if fit_threads:
        guard.Guard.one_thread = lambda _self: nullcontext()  # type: ignore[method-assign]
    digest, quantize = hashlib.sha256(), stages.quantize

    def digested(*given):  # type: ignore[no-untyped-def]
        made = quantize(*given)
        for path, weight in sorted(made.rounded.items()):
            digest.update(path.encode() + weight.integers.numpy().tobytes())
        return made

    stages.quantize = digested
    settings = {"methods": [method], "budgets": ["W3A3"], "images": images, "out": folder}
    (record,) = [r for r in api.run("smoke", **settings) if r.method == method]
    pixels = hashlib.sha256()
    for path in sorted((folder / "samples").rglob("*.npz")):
        pixels.update(np.load(path)["arr_0"].tobytes())
    found = {"seconds": record.seconds, "integers": digest.hexdigest()[:8], "status": record.status}
    print(json.dumps(found | {"pixels": pixels.hexdigest()[:8]}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--threads", type=int, nargs="*", default=(1, 2))
    parser.add_argument("--fit-threads", action="store_true")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder is not None:
        run(given.methods[0], given.folder, given.images, given.fit_threads)
        return
    print("method    threads", *(f"{stage:>10}" for stage in STAGES), "integers  pixels")
    for method in given.methods:
        for threads in given.threads:
            with tempfile.TemporaryDirectory() as folder:
                words = [sys.executable, __file__, method, "--folder", folder]
                words += ["--images", str(given.images)]
                words += ["--fit-threads"] if given.fit_threads else []
                own = os.environ | {"OMP_NUM_THREADS": str(threads)}
                done = subprocess.run(words, env=own, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            seconds = [f"{found['seconds'].get(stage, 0):10.2f}" for stage in STAGES]
            print(f"{method:10}{threads:7}", *seconds, found["integers"], found["pixels"])


if __name__ == "__main__":
    main()
