"""One flipped bit in any kind of entry of the cache: made again, and said.

With ``test_27_one_flipped_bit`` and ``search/test_kept_searches`` (states of searches that were
stopped) every kind of kept file has a test.
"""

import shutil

import numpy as np
import pytest
from forked import Run

SUITE = """
name: cached
protocol: {base: smoke, images: 8, steps: 2, micro_batch: 4, calibration: 8, features: none}
budgets: [W4A4]
methods:
  - name: whole
    rounding: {name: adaround, iterations: 2, batch: 8, grid: minmax}
    searcher: ilp
    branch: {name: low-rank, rank: 1, bits: 8}
    tuner: {name: peft, trajectories: 4, held_out: 4, steps: 4, every: 2, batch: 8}
    choices: [W3A3, W4A4, W5A5]
"""
SAMPLES = ("samples/*/shard-*.npz", "allocations/*")
# The first or last entry of a kind, and what else is removed so that the entry is read.
KINDS = {
    "cache/calibration/*/calibration/inputs.pt": (),
    "cache/calibration/*/calibration/block-*.pt": (),
    "cache/calibration/*/held-out.pt": (),
    "cache/searches/*.pt": (),
    "cache/tables/*.pt": ("cache/searches/*.pt",),
    "cache/rounding/*/*.pt": (),
    "cache/trajectories/*/*/*.pt": ("cache/training/*.pt",),
    "cache/training/*.pt": (),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tiny_folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("cached")
    (place / "cached.yaml").write_text(SUITE, encoding="utf-8")
    words = ("run", place / "cached.yaml", "--model", tiny_folder, "--batch-size", 4)
    run = Run(place / "whole", *words)
    assert run.command()[0] == 0, run.said
    run.again = words
    return run


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_is_made_again(whole, tmp_path, kind):
    run = Run(shutil.copytree(whole.out, tmp_path / "run"), *whole.again)
    for pattern in ("records/*whole*", "samples/*whole*/shard-00000004.npz", *KINDS[kind]):
        for path in run.out.glob(pattern):
            path.unlink()
    path = sorted(run.out.glob(kind))[0]
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(27)
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    code, _ = run.command()
    assert code == 0, run.said
    assert f"{path} is damaged: its content is computed again" in run.said
    assert path.read_bytes() != bytes(content)
    assert (run.records(), run.bytes(*SAMPLES)) == (whole.records(), whole.bytes(*SAMPLES))


def test_every_kind_of_entry_is_tried(whole):
    tried = {path for kind in KINDS for path in whole.out.glob(kind)}
    assert set(whole.out.rglob("cache/**/*.pt")) == tried
