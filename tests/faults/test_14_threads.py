"""Fits do not depend on the number of threads: the same integers from one thread and from two."""

import json
import os
import subprocess
import sys

import pytest
import torch

from mpqbench.core.errors import BenchError
from mpqbench.core.threads import one_thread

RUN = """
import hashlib, json, sys
from mpqbench import api
from mpqbench.job import stages

digest, quantize = hashlib.sha256(), stages.quantize
def digested(*given):
    made = quantize(*given)
    for path, weight in sorted(made.rounded.items()):
        digest.update(weight.integers.numpy().tobytes())
    return made
stages.quantize = digested
few = {"images": 1, "steps": 2, "calibration": 8, "micro_batch": 8, "features": "none"}
records = api.run("smoke", methods=[sys.argv[2]], budgets=["W3A3"], out=sys.argv[1], **few)
print(json.dumps([digest.hexdigest()] + [record.status for record in records]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gptq", "quarot"])
def test_one_and_two_threads_give_the_same_integers(tmp_path, method):
    found = []
    for threads in (1, 2):
        own = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        words = [sys.executable, "-c", RUN, str(tmp_path / str(threads)), method]
        done = subprocess.run(words, env=own, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0] == found[1]
    assert found[0][1:] == ["done"] * 2


def test_one_thread_inside_and_as_many_as_before_after():
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(BenchError, match="set the number of torch threads to 2"), one_thread():
        torch.set_num_threads(2)
    assert torch.get_num_threads() == 2
