"""A run that is killed at any point goes on there, and its records are those of an unbroken run."""

import itertools
import random
import shutil

import pytest
from forked import Run
from tiny_pipeline import save_tiny_pipeline

from mpqbench import api
from mpqbench.search import kept_scores
from mpqbench.tuning.checkpoint import Checkpoint

SUITE = """
name: killed
protocol: {base: smoke, images: 12, steps: 2, micro_batch: 4, calibration: 8, features: fashion}
budgets: [W4A4]
methods:
  - name: whole
    rounding: {name: adaround, iterations: 4, batch: 8, grid: minmax}
    searcher: {name: tss, keep: 2}
    environment: {name: eng, noise: 0.5}
    branch: {name: low-rank, rank: 1, bits: 8}
    tuner: {name: peft, trajectories: 4, held_out: 4, steps: 12, every: 4, batch: 8}
    correction: {name: unbiased, images: 8}
    choices: [W3A3, W4A4, W5A5]
"""
POINTS = 20
RESULTS = ("allocations/*", "samples/*/shard-*.npz", "cache/searches/*")
# What is made once; ``cache/training`` and ``cache/searching`` are the states of unfinished work.
ONCE = ("samples/*/shard-*.npz", "cache/[!ts]*/**/*.pt", "cache/trajectories/*/*.pt",
        "cache/tables/*.pt", "cache/searches/*.pt", "cache/searching/*.pt")  # fmt: skip


def keep_all():
    """Keep every scoring and every training step."""
    kept_scores.KEEP_SECONDS = 0.0
    Checkpoint.due = property(lambda self: self.cache is not None)


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """Makes the same command on another folder."""
    place = tmp_path_factory.mktemp("killed")
    model = save_tiny_pipeline(place / "tiny", sample_size=16)
    (place / "killed.yaml").write_text(SUITE, encoding="utf-8")
    # Children find the modules and the networks in memory.
    api.run("smoke", models=[str(model)], methods=["full-precision"], features="fashion",
            images=4, steps=1, micro_batch=4, out=place / "first")  # fmt: skip
    words = ("run", place / "killed.yaml", "--model", model, "--batch-size", 4)
    return lambda name: Run(place / name, *words)


@pytest.fixture(scope="module")
def unbroken(commands):
    """The run that nothing stops, and its events."""
    run = commands("unbroken")
    code, events = run.command(prepare=keep_all)
    assert code == 0, run.said
    return run, events


def points(events):
    """Where to kill: half of the points at files, half at computations, each spread evenly."""
    rng, found = random.Random(28), []
    for kind in ("file", "compute"):
        places, count = [at for at, each in enumerate(events) if each == kind], POINTS // 2
        parts = [len(places) * part // count for part in range(count + 1)]
        found += [places[rng.randrange(*part)] for part in itertools.pairwise(parts)]
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(POINTS))
def test_a_killed_run_goes_on_to_the_same_records(commands, unbroken, number):
    whole, events = unbroken
    at, run = points(events)[number], commands(f"killed-{number}")
    code, before = run.command(at, keep_all)
    assert code == -9, run.said
    assert before == events[:at]
    there, done = run.identities(*ONCE), run.bytes("samples/*/shard-*.npz")
    code, after = run.command(prepare=keep_all)
    assert code == 0, run.said
    assert run.records() == whole.records()
    assert run.bytes(*RESULTS).keys() == whole.bytes(*RESULTS).keys()
    images = "samples/*/shard-*.npz"
    assert run.bytes(images) == whole.bytes(images)
    still = run.identities(*ONCE)
    assert {name: still.get(name, was) for name, was in there.items()} == there
    assert len(done) == 0 or len(after) < len(events)
    assert run.unfinished() == []
    assert list(run.out.glob("claims/*.json")) == []
    shutil.rmtree(run.out)
