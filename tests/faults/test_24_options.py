"""Options alike for all commands that run jobs, tables printed, parameters as factors, ``new``."""

import subprocess
import sys

import pandas as pd
import pytest

from mpqbench.cli import completion
from mpqbench.core.errors import BenchError
from mpqbench.core.registry import discover
from mpqbench.lab.ablation.design import factors_from, parse_factors
from mpqbench.lab.ablation.plan import factorial

REGISTRY = discover()
VERBS = [["run"], ["ablate"], ["study", "searchers"], ["study", "proxies"], ["study", "branches"]]
TINY = ["--features", "none", "--images", 8, "--steps", 2, "--calibration", 8]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_the_same_options_everywhere(mpqbench, verb):
    code, out, _ = mpqbench(*verb, "--help")
    assert code == 0
    options = ["--seeds", "--model", "-n, --dry-run", "--out", "--plugins", "--device"]
    if verb != ["study", "branches"]:  # which samples no image
        options += ["--budget", "--steps", "--images", "--feature-weights", "--features"]
        options += ["--calibration", "--reference", "--dtype", "--micro-batch", "--sampler"]
    assert [option for option in options if option not in out] == []


@pytest.mark.parametrize("verb", [*VERBS[:1], ["ablate", "gptq"], *VERBS[2:4]], ids=" ".join)
def test_a_dry_run_honours_the_options_and_writes_nothing(
    mpqbench, tiny_folder, tmp_path, monkeypatch, verb
):
    monkeypatch.chdir(tmp_path)
    words = [*verb, "-n", "--model", tiny_folder, *TINY, "--seeds", 3, "--budget", "W4A4"]
    code, out, err = mpqbench(*words)
    assert code == 0, err
    assert "__full-precision__FP__s3" in out
    assert "to run" in out
    if verb[0] != "ablate":
        assert "  steps: 2\n" in out
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_parameter_is_a_factor(mpqbench, tiny_folder, tmp_path, undrawn):
    words = ["ablate", "gptq", "--factor", "rounding.act_order=true|false", "--protocol", "smoke"]
    words += [*TINY, "--model", tiny_folder, "--budget", "W3A3", "--out", tmp_path / "out"]
    code, out, err = mpqbench(*words)
    assert code == 0, err
    cells = pd.read_csv(tmp_path / "out/ablation.csv", dtype=str).set_index("method")
    assert list(cells.index) == ["full-precision", "gptq.true", "gptq.false"]
    assert list(cells["rounding.act_order"][1:]) == ["true", "false"]
    assert cells.output_mse["gptq.true"] != cells.output_mse["gptq.false"]
    for shown in ("Ablation of gptq", "rounding.act_order", "Effects on", "gptq.false"):
        assert shown in out  # the table, not only the paths of files


def test_parameters_of_one_slot_combine():
    method = REGISTRY.method("gptq")
    texts = ["rounding.act_order=true|false", "rounding.damping=0.01|0.1"]
    factors = parse_factors(texts, method)
    plan = factorial(method, factors, REGISTRY)
    params = [cell.recipe.rounding.params for cell in plan.cells]
    assert [(each["act_order"], each["damping"]) for each in params] == [
        (True, 0.01), (True, 0.1), (False, 0.01), (False, 0.1),
    ]  # fmt: skip
    levels = {"fine": {"weight_format.granularity": "tensor"}, "as-is": {}}
    plan = factorial(method, factors_from({"format": levels}, "file"), REGISTRY)
    assert [c.recipe.weight_format.granularity for c in plan.cells] == ["tensor", "channel"]


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["rounding.act_ordre=true|false"], "did you mean 'act_order'"),
        (["rounding.act_order=true|maybe"], "act_order must be true or false, not 'maybe'"),
        (["rounding.act_order=true"], "has one level"),
        (["roundin.act_order=true|false"], "did you mean 'rounding'"),
        (["rounding.act_order=[|false"], "is not readable YAML"),
        (["rounding.act_order=true|false", "rounding.act_order=1|2"], "two factors are called"),
        (["rounding=gptq|nearest", "rounding.act_order=true|false"], "rounding 'nearest'"),
    ],
)
def test_wrong_parameters_of_a_factor_are_one_sentence(texts, sentence):
    method = REGISTRY.method("gptq")
    with pytest.raises(BenchError, match=sentence):
        factorial(method, parse_factors(texts, method), REGISTRY)


def test_a_sweep_of_no_number_names_the_option_that_takes_it(mpqbench):
    code, _, err = mpqbench("ablate", "gptq", "--sweep", "rounding.act_order=true,false", "-n")
    assert (code, err.count("\n")) == (2, 1)
    assert "use --factor rounding.act_order=A|B" in err


def test_a_new_method_and_a_new_package_work(mpqbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mpqbench("new", "method", "my-method")[0] == 0
    code, out, err = mpqbench("info", "my-method", "--plugins", "my_method.py")
    assert code == 0, err
    assert "rounding: {'name': 'gptq'" in out
    code, out, _ = mpqbench("new", "package", "my-pack")
    assert (code, "pip install -e my-pack" in out) == (0, True)
    for folder, test in ((".", "test_my_method.py"), ("my-pack", "tests/test_plugins.py")):
        files = ["my_method.py", test] if folder == "." else ["."]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only"]
        done = subprocess.run(
            [*command, test], cwd=tmp_path / folder, capture_output=True, encoding="utf-8",
            env={"PYTHONPATH": ".", "PATH": "", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        rules = ["--isolated", "--line-length", "100", "--select", "E,F,I,B,UP,SIM,PT,N,A"]
        ruff = [sys.executable, "-m", "ruff", "check", *rules, *files]
        assert subprocess.run(ruff, cwd=tmp_path / folder, capture_output=True).returncode == 0
    code, _, err = mpqbench("new", "package", "my-pack")
    assert (code, "exists already" in err) == (2, True)


def test_the_shell_completes_values():
    assert "gptq" in completion.methods(None, None, "gp")
    assert completion.suites(None, None, "sea") == ["searchers"]
    assert completion.budgets(None, None, "W4") == ["W4A4", "W4A8"]
    assert completion.written(None, None, "p") == ["package"]
    assert {"quick", "fashion-dit", "nearest", "rtn"} <= {*completion.explained(None, None, "")}
