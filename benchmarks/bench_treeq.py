"""One post-training pass over a model of DiT-XL/2's shapes: TreeQ, SVDQuant and plain GPTQ.

Weights are random, as their values do not affect the time. A pass is what `mpqbench run` does
before sampling: moments of every layer, collected block by block, then transform, rounding and
branch of every layer at W4A4. Bits are uniform, as the time of a search is set by its allowance;
EVALUATIONS=1000 runs TreeQ's own search. BLOCKS (28) and INPUTS (128, of calibration) make the
benchmark smaller. MPQBENCH_DEVICE chooses the device, by default a GPU where there is one.
"""

import os
from pathlib import Path

import pytest
import torch

from mpqbench.core.memory import keep_freed_memory
from mpqbench.core.progress import reporter
from mpqbench.core.registry import discover
from mpqbench.core.suite import Suite
from mpqbench.dit.zoo import CONFIGURATIONS, RANDOM_PREFIX
from mpqbench.job.resources import Resources, Session
from mpqbench.lab.suite import plan, run_suite
from mpqbench.records.schema import JobRecord
from mpqbench.records.store import RecordStore

DEVICE = os.environ.get("MPQBENCH_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
BLOCKS = int(os.environ.get("BLOCKS", "28"))
INPUTS = int(os.environ.get("INPUTS", "128"))
EVALUATIONS = float(os.environ.get("EVALUATIONS", "0"))
STEPS = 10  # what TreeQ's objective sums errors over
MODEL = f"dit-xl-2-{BLOCKS}-blocks"
CONFIGURATIONS[MODEL] = CONFIGURATIONS["dit-xl-2-256"] | {"num_layers": BLOCKS}

UNIFORM = {"base": "treeq", "name": "treeq", "searcher": "uniform", "environment": "clean"}
SEARCHED = {"base": "treeq", "name": "treeq", "evaluations": EVALUATIONS}
METHODS = {"treeq": SEARCHED if EVALUATIONS else UNIFORM, "svdquant": "svdquant", "gptq": "gptq"}


def one_pass(method: str, out: Path) -> JobRecord:
    """Run ``method`` in an empty folder and return its record."""
    suite = Suite.model_validate({
        "name": "pass", "models": [RANDOM_PREFIX + MODEL], "methods": [METHODS[method]],
        "budgets": ["W4A4"],
        "protocol": {"base": "quick", "images": 1, "steps": STEPS, "micro_batch": 8,
                     "calibration": INPUTS, "features": "none"},
    })  # fmt: skip
    keep_freed_memory()
    registry, store = discover(), RecordStore(out)
    resources = Resources(registry, DEVICE, 1, out / "cache", reporter())
    records = run_suite(plan(suite, registry, DEVICE), Session(resources, store))
    record = next(record for record in records if record.method == method)
    assert record.status == "done", record.reason
    return record


@pytest.mark.benchmark(group="post-training pass, W4A4")
@pytest.mark.parametrize("method", METHODS)
def bench_pass(benchmark, tmp_path, method):
    record = benchmark.pedantic(one_pass, (method, tmp_path / method), rounds=1)
    stages = {stage: record.seconds[stage] for stage in ("calibrate", "search", "quantize")}
    benchmark.extra_info |= {
        "device": DEVICE,
        "threads": torch.get_num_threads(),
        "blocks": BLOCKS,
        "calibration inputs": INPUTS,
        "seconds": {stage: round(seconds, 1) for stage, seconds in stages.items()},
        "seconds of the pass": round(sum(stages.values()), 1),
        "peak MB": round(record.peak_mb),
    }
    print(f"\n{method}: {benchmark.extra_info}")
