"""What a plugin changes in the process is undone, named, and does not reach the next job."""

import os
import re

import pytest
import torch
from plugin_runs import run_methods, write_plugins

from mpqbench.core.errors import BenchError
from mpqbench.core.registry import discover
from mpqbench.job.guard import Guard
from mpqbench.job.patches import Patches

ROUNDING = """
@plugin
class Changes(Rounding):
    def round(self, weight, layer, fmt, bits):
        made = Nearest().round(weight, layer, fmt, bits)
        {change}
        return made

PLUGINS = {{"rounding": {{"changes": Changes}}}}
"""
CHANGES = {
    "torch.set_default_dtype(torch.float64)": "the default dtype of torch",
    "torch.set_num_threads(3)": "the number of torch threads",
    "os.chdir('/')": "the current directory",
    "torch.use_deterministic_algorithms(True)": "torch's deterministic algorithms",
    "torch.nn.functional.linear = lambda x, w, b=None: x @ w.T": "torch.nn.functional.linear",
    "torch.Tensor.sum = lambda self, *a: self.mean(*a)": "torch.Tensor.sum",
    "import mpqbench.quant.affine as a; a.quantize = None": "mpqbench.quant.affine.quantize",
    "Nearest.round = lambda self, *given: made": "Nearest.round",
    "np.round = np.floor": "numpy.round",
    "torch.nn.modules.module.register_module_forward_hook(lambda *_: None)":
        "a hook on all modules of torch",
    "torch.set_float32_matmul_precision('medium')": "torch's precision of float32 products",
}  # fmt: skip
BOTH = ["{base: rtn, name: changes, rounding: changes}", "{base: gptq, name: after}"]


@pytest.mark.parametrize("change", CHANGES, ids=list(CHANGES.values()))
def test_a_change_is_undone_and_named(change):
    linear, here = torch.nn.functional.linear, os.getcwd()
    guard = Guard(Patches())
    name = re.escape(CHANGES[change])
    with pytest.raises(BenchError, match=f"a plugin changed .*{name}"), guard:
        exec(change, {"torch": torch, "os": os, **_names()})
    assert guard.lost == []
    assert torch.get_default_dtype() == torch.float32
    assert (torch.nn.functional.linear, os.getcwd()) == (linear, here)
    with Guard(Patches()):
        pass  # everything is as it was


def test_an_inference_mode_that_stays_is_undone(mpqbench, tmp_path, tiny_folder):
    change = "global mode; mode = torch.inference_mode(); mode.__enter__()"
    body = ROUNDING.format(change=change)
    _, _, records = run_methods(mpqbench, tmp_path, tiny_folder, BOTH, body)
    assert (torch.is_inference_mode_enabled(), torch.is_grad_enabled()) == (False, True)
    assert "torch's inference mode" in records["changes"]["reason"]
    assert records["after"]["status"] == "done"
    weight = torch.ones(2, requires_grad=True)
    weight.sum().backward()
    assert torch.equal(weight.grad, torch.ones(2))


def _names():
    import numpy as np

    from mpqbench.baselines.roundings.nearest import Nearest

    return {"np": np, "Nearest": Nearest, "made": None}


@pytest.mark.parametrize(
    "change",
    [
        next(iter(CHANGES)),
        *(pytest.param(list(CHANGES)[n], marks=pytest.mark.slow) for n in (1, 4)),
    ],
)
def test_the_job_fails_and_the_next_one_is_right(mpqbench, tmp_path, tiny_folder, change):
    body = ROUNDING.format(change=change)
    _, _, records = run_methods(mpqbench, tmp_path, tiny_folder, BOTH, body)
    assert records["changes"]["status"] == "failed"
    assert f"a plugin set {CHANGES[change]}" in records["changes"]["reason"] or (
        f"a plugin changed {CHANGES[change]}" in records["changes"]["reason"]
    )
    alone = tmp_path / "alone"
    alone.mkdir()
    _, _, clean = run_methods(mpqbench, alone, tiny_folder, BOTH[1:])
    assert records["after"]["scores"] == clean["after"]["scores"]


def test_a_harmless_change_is_a_note(mpqbench, tmp_path, tiny_folder):
    change = "os.environ['OWN'] = '1'; torch.manual_seed(1); warnings.simplefilter('ignore')"
    state = torch.get_rng_state()
    code, _, records = run_methods(
        mpqbench, tmp_path, tiny_folder, BOTH[:1], ROUNDING.format(change=change)
    )
    assert (code, records["changes"]["status"]) == (0, "done")
    notes = records["changes"]["notes"]
    assert notes == ["a plugin changed environment variables, which was undone"]
    assert "OWN" not in os.environ
    assert torch.equal(state, torch.get_rng_state())


def test_what_cannot_be_undone_ends_the_run(mpqbench, tmp_path, tiny_folder):
    change = "torch.device('cpu').__enter__()"
    code, text, records = run_methods(
        mpqbench, tmp_path, tiny_folder, BOTH, ROUNDING.format(change=change)
    )
    torch.device("cpu").__exit__(None, None, None)
    assert code == 2
    assert "a mode of torch that is still active, which cannot be undone" in text
    assert records["changes"]["status"] == "failed"
    assert "after" not in records


def test_an_import_that_changes_the_process_is_refused(mpqbench, tmp_path, tiny_folder):
    body = "torch.set_default_dtype(torch.float64)\nPLUGINS = {}\n"
    path = write_plugins(tmp_path / "own.py", body)
    code, _, err = mpqbench("run", "smoke", "--plugins", path, "--out", tmp_path / "out")
    assert code == 2
    assert "own.py changed the default dtype of torch" in err
    assert torch.get_default_dtype() == torch.float32
    assert discover() is not None
