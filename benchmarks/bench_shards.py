"""Metrics from shards against one pass and against other packages, as one table of ratios.

Run ``OMP_NUM_THREADS=1 python benchmarks/bench_shards.py``. Memory is the peak of a process of its
own, without what its imports take; times are processor seconds of one thread, since a busy
neighbour does not change these. ``--images 5000 --dimension 256 --pairs 2000`` runs it small.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from mpqbench.core.jackknife import deal_groups
from mpqbench.metrics.frechet import Gaussian, Moments
from mpqbench.metrics.kid import KernelReference
from mpqbench.metrics.precision_recall import Manifold
from mpqbench.metrics.rows import Rows

SHARD = 256  # images


def features(count: int, dimension: int, seed: int) -> np.ndarray:
    """Make features (n, d), float32, of decaying variance and not around zero."""
    rng = np.random.default_rng(seed)
    scales = 1 / np.sqrt(1 + np.arange(dimension))
    return (rng.standard_normal((count, dimension), np.float32) * scales + 0.4).astype(np.float32)


def reference(dimension: int) -> Gaussian:
    """Return a Gaussian whose factor is not computed."""
    return Moments.of(features(2 * dimension, dimension, 10**6)).gaussian()


def write_shards(folder: Path, count: int, dimension: int) -> None:
    """Write the features of ``count`` images, shard by shard."""
    for start in range(0, count, SHARD):
        made = features(min(SHARD, count - start), dimension, start)
        save_file({"pooled": made}, folder / f"shard-{start:08d}.safetensors")


def merged(folder: Path, count: int, against: Gaussian) -> float:
    """Return the distance of all shards; the intervals of 20 groups are computed too."""
    paths, dimension = sorted(folder.iterdir()), len(against.mean)
    rows = Rows(count, dimension, lambda: (load_file(path)["pooled"] for path in paths))
    return against.leave_groups_out(rows, deal_groups(count)).value


def one_pass(folder: Path, count: int, against: Gaussian) -> float:
    """Return the same from all features at once, as NumPy does it; no intervals."""
    loaded = np.concatenate([load_file(path)["pooled"] for path in sorted(folder.iterdir())])
    every = loaded.astype(np.float64)
    covariance = np.cov(every, rowvar=False)
    return against.distance(Gaussian(count, every.mean(axis=0), covariance))


def measure(way: str, folder: str, count: int, dimension: int) -> None:
    """Print the distance and the peak memory in MB of one way, in a process of its own."""
    against = reference(dimension)
    against.factor.sum()
    with Path("/proc/self/clear_refs").open("w", encoding="ascii") as file:
        file.write("5")  # the peak begins anew, from what is held now
    held = _status("VmRSS")
    started = time.process_time()
    value = {"merged": merged, "one pass": one_pass}[way](Path(folder), count, against)
    seconds, peak = time.process_time() - started, _status("VmHWM") - held
    print(json.dumps({"value": value, "mb": peak / 1024, "seconds": seconds}))


def _status(name: str) -> int:
    """Return a line of ``/proc/self/status`` in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def in_child(way: str, folder: str, count: int, dimension: int) -> dict[str, float]:
    """Run ``measure`` in another process."""
    words = ["--measure", way, "--folder", folder, "--images", count, "--dimension", dimension]
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def timed(compute: Callable[[], float], repeats: int = 2) -> tuple[float, float]:
    """Return the value and the fewest processor seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        value = compute()
        seconds.append(time.process_time() - started)
    return float(value), min(seconds)


def row(what: str, ours: tuple[float, float], rival: str, theirs: tuple[float, float]) -> None:
    """Print one comparison: seconds or MB, their ratio, and how far the values are apart."""
    apart = abs(ours[0] - theirs[0]) / max(abs(theirs[0]), 1e-12)
    ratio = theirs[1] / ours[1]
    print(f"| {what} | {ours[1]:.3g} | {rival} | {theirs[1]:.3g} | {ratio:.1f} | {apart:.0e} |")
    sys.stdout.flush()


def memory(count: int, dimension: int) -> None:
    """Compare peaks of memory."""
    with tempfile.TemporaryDirectory() as folder:
        write_shards(Path(folder), count, dimension)
        ours, theirs = (in_child(way, folder, count, dimension) for way in ("merged", "one pass"))
    sides = ((each["value"], each["mb"]) for each in (ours, theirs))
    what = f"{count:,} images, with 20 groups: MB"
    row(what, next(sides), "one pass without groups: MB", next(sides))


def frechet(dimension: int) -> None:
    """Compare a distance of two Gaussians."""
    from cleanfid.fid import frechet_distance
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    one, other = reference(dimension), Moments.of(features(2 * dimension, dimension, 5)).gaussian()
    statistics = [{"mu": each.mean, "sigma": each.covariance} for each in (other, one)]
    arrays = (other.mean, other.covariance, one.mean, one.covariance)
    fresh = timed(lambda: Gaussian(one.count, one.mean, one.covariance).distance(other))
    cached = timed(lambda: one.distance(other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sqrtm(disp=False) is deprecated
        clean = timed(lambda: frechet_distance(*arrays))
    torch_fid = timed(
        lambda: fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    )
    for name, theirs in (("clean-fid (sqrtm)", clean), ("torch-fidelity (eigvals)", torch_fid)):
        row("Frechet distance, factor computed: s", fresh, name, theirs)
        row("Frechet distance, factor cached: s", cached, name, theirs)


def pairs(count: int, dimension: int) -> None:
    """Compare precision, recall and KID of two sets of images; the reference is computed too."""
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    ours, theirs = features(count, dimension, 1), features(count, dimension, 2)
    sides = torch.from_numpy(ours), torch.from_numpy(theirs)
    manifold, kernel = Manifold(theirs), KernelReference(theirs)
    options = {"prc_neighborhood": 3, "prc_batch_size": 10_000, "save_cpu_ram": False}

    def both(reference: Manifold) -> float:
        return sum(reference.precision_recall(Manifold(ours)))

    def kid() -> float:
        return float(
            kid_features_to_metric(*sides, verbose=False)["kernel_inception_distance_mean"]
        )

    def precision_recall() -> float:
        found = prc_features_to_metric(*sides, verbose=False, **options)
        return float(found["precision"] + found["recall"])

    name, rival = f"precision + recall of {count:,}", "torch-fidelity, float32"
    of_pairs = timed(precision_recall, 1)
    row(f"{name}, reference computed: s", timed(lambda: both(Manifold(theirs)), 1), rival, of_pairs)
    row(f"{name}, reference kept: s", timed(lambda: both(manifold), 1), rival, of_pairs)
    name, rival = f"KID of {count:,}, all pairs", "torch-fidelity, 100 subsets of 1,000"
    of_subsets = timed(kid, 1)
    fresh = timed(lambda: KernelReference(theirs).distance(ours).value, 1)
    row(f"{name}, reference computed: s", fresh, rival, of_subsets)
    row(
        f"{name}, reference kept: s",
        timed(lambda: kernel.distance(ours).value, 1),
        rival,
        of_subsets,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="memory, frechet, pairs; all if none is given")
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--dimension", type=int, default=2048)
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.folder, *given.images, given.dimension)
        return
    print(f"{given.dimension:,} features, {torch.get_num_threads()} thread(s)\n")
    print("| what | mpqbench | rival | rival's | the rival takes times | values apart |")
    print("|---|---:|---|---:|---:|---:|")
    compute = {
        "memory": lambda: [memory(count, given.dimension) for count in given.images],
        "frechet": lambda: frechet(given.dimension),
        "pairs": lambda: pairs(given.pairs, given.dimension),
    }
    for part in given.parts or compute:
        compute[part]()


if __name__ == "__main__":
    main()
