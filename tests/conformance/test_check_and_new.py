"""The verbs ``check`` and ``new``."""

import subprocess
import sys
from pathlib import Path

import pytest

from mpqbench.core.recipe import SLOTS

FAULTY = '''
"""A rounding of another author that takes too many bits."""
from dataclasses import replace

from mpqbench.contracts import Rounding, plugin
from mpqbench.quant.affine import quantize_weight
from pydantic import NonNegativeInt


@plugin
class Faulty(Rounding):
    """One bit more than asked for."""

    extra: NonNegativeInt = 1

    def round(self, weight, layer, fmt, bits):
        finer = quantize_weight(weight, fmt, min(8, bits + self.extra), layer.name)
        return replace(finer, bits=bits)


PLUGINS = {"rounding": {"faulty": Faulty}, "transform": {"faulty": "nowhere:Nothing"}}
'''
RULES = "E,F,I,B,UP,SIM,RUF,C4,PT,N,A"


@pytest.fixture
def call(mpqbench):
    """Gives (exit code, what was printed) of a command."""

    def run(*words):
        code, out, err = mpqbench(*words)
        return code, out + err

    return run


def test_a_faulty_plugin_is_named_with_its_fault(call, tmp_path):
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY, encoding="utf-8")
    words = ("check", "faulty", "--kind", "rounding", "--plugins", path)
    code, text = call(*words)
    assert code == 1
    lines = [line.split() for line in text.splitlines() if "FAILED" in line]
    assert [line[1] for line in lines] == ["bits:", "model:"]
    assert " bits hold -2 to 1 or 0 to 3" in text or " bits hold -4 to 3 or 0 to 7" in text
    assert text.splitlines()[-1].endswith("checks passed")
    code, text = call(*words, "--param", "extra=0", "--quick")
    assert code == 0
    assert "FAILED" not in text
    code, text = call(*words, "--param", "extra=-1")
    assert (code, len(text.splitlines())) == (2, 1)
    assert "rounding 'faulty': extra must be at least 0, not -1" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "nearst"], "unknown plugin 'nearst'; did you mean 'nearest'?"),
        (["check", "rtn"], "method 'rtn' is a recipe"),
        (["check", "nearest", "--param", "alpha"], "--param 'alpha' must be KEY=VALUE"),
        (["new", "roundin", "mine"], "unknown kind to write 'roundin'; did you mean"),
        (["new", "searcher", "tss"], "searcher 'tss' is taken by package mpqbench"),
        (["check", "given"], "searcher 'given'"),
        (["new", "rounding", "my_own"], "'my_own' is not a name: use up to 40 lower-case"),
        (["new", "transform", "torch"], "would hide the installed module 'torch'"),
    ],
)
def test_bad_input_is_one_sentence(call, monkeypatch, tmp_path, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, text = call(*words)
    assert code == 2
    assert sentence in text
    assert len(text.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["cheapest", "biases"])
def test_the_plugins_of_the_documentation_pass(call, tmp_path, name):
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    path = tmp_path / f"{name}.py"
    path.write_text(
        page.partition(f"```python\n# {name}.py\n")[2].partition("```")[0], encoding="utf-8"
    )
    code, text = call("check", name, "--quick", "--plugins", path)
    assert code == 0, text


@pytest.mark.parametrize("kind", SLOTS)
def test_what_new_writes_works(call, capsys, monkeypatch, tmp_path, kind):
    name, folder = f"my-{kind}", tmp_path / "plugins"
    code, text = call("new", kind, name, "--out", folder)
    assert code == 0
    path, test = folder / f"my_{kind}.py", folder / f"test_my_{kind}.py"
    assert f"mpqbench check {name} --plugins {path}" in text
    assert set(folder.iterdir()) == {path, test}
    for tool in (["check", "--select", RULES], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *tool, "--isolated", "--line-length", "100", "."]
        ruff = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert ruff.returncode == 0, ruff.stdout + ruff.stderr

    code, text = call("check", name, "--quick", "--plugins", path)
    assert code == 0, text
    before = path.read_text(encoding="utf-8")
    code, text = call("new", kind, name, "--out", folder)
    assert code == 2
    assert f"my_{kind}.py exists already" in text
    assert path.read_text(encoding="utf-8") == before

    monkeypatch.syspath_prepend(str(folder))
    inner = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(test)]
    assert pytest.main([*inner, "-k", "device or repeatable or budget or cost"]) == 0
    assert " passed" in capsys.readouterr().out
