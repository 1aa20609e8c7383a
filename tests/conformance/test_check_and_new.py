"""The verbs ``check`` and ``new``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mpqbench.cli.main import main
from mpqbench.cli.new import KINDS

LIAR = '''
"""A stranger's rounding that claims too much."""
from dataclasses import dataclass, replace

from mpqbench.quant.affine import quantize_weight


@dataclass(frozen=True)
class Liar:
    """One bit more than asked for."""

    extra: int = 1

    def round(self, weight, layer, fmt, bits):
        finer = quantize_weight(weight, fmt, min(8, bits + self.extra), layer.name)
        return replace(finer, bits=bits)


PLUGINS = {"rounding": {"liar": Liar}, "transform": {"liar": "nowhere:Nothing"}}
'''
RULES = "E,F,I,B,UP,SIM,RUF,C4,PT,N,A"


def call(capsys, monkeypatch, *words):
    """(exit code, what was printed) of a command."""
    monkeypatch.setattr(sys, "argv", ["mpqbench", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    return end.value.code, printed.out + printed.err


@pytest.fixture
def liar(tmp_path):
    path = tmp_path / "liar.py"
    path.write_text(LIAR)
    return path


def test_an_honest_plugin_passes(capsys, monkeypatch):
    code, text = call(capsys, monkeypatch, "check", "nearest", "--quick")
    assert code == 0
    assert text.count("\n  ok ") == 11
    assert "FAILED" not in text
    assert text.splitlines()[-1] == "11 of 11 checks passed"


def test_a_liar_is_named_with_its_reason(capsys, monkeypatch, liar):
    words = ("check", "liar", "--kind", "rounding", "--plugins", liar)
    code, text = call(capsys, monkeypatch, *words)
    assert code == 1
    lines = [line.split() for line in text.splitlines() if "FAILED" in line]
    assert [line[1] for line in lines] == ["bits", "model"]
    assert " bits hold -2 to 1 or 0 to 3" in text or " bits hold -4 to 3 or 0 to 7" in text
    assert text.splitlines()[-1] == "9 of 11 checks passed"
    assert call(capsys, monkeypatch, *words, "--param", "extra=0", "--quick")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["check", "nearst"], "unknown plugin 'nearst'; did you mean 'nearest'?"),
        (["check", "nearest", "--kind", "transform"], "unknown transform 'nearest'"),
        (["check", "nearest", "--kind", "method"], "unknown kind of plugin to check 'method'"),
        (["check", "rtn"], "method 'rtn' is a recipe"),
        (["check", "nearest", "--param", "alpha"], "--param 'alpha' is not of the form KEY=VALUE"),
        (["check", "nearest", "--param", "alpha=[1"], "--param alpha: '[1' cannot be read"),
        (["check", "low-rank", "--param", "rank=0"], "rank must be a whole number of at least 1"),
        (["check", "peft", "--param", "rate=0"], "rate must be positive, not 0"),
        (["check", "uniform", "--param", "alpha=1"], "parameter of searcher 'uniform' 'alpha'"),
        (["new", "roundin", "mine"], "unknown kind of plugin to write 'roundin'; did you mean"),
        (["new", "method", "mine"], "unknown kind of plugin to write 'method'"),
        (["new", "rounding", "nearest"], "rounding 'nearest' is taken by package mpqbench"),
        (["new", "searcher", "tss"], "searcher 'tss' is taken by package mpqbench"),
        (["check", "given"], "searcher 'given'"),
        (["new", "rounding", "Mine"], "'Mine' is not a name: use up to 40 lower-case"),
        (["new", "rounding", "my_own"], "'my_own' is not a name"),
        (["new", "rounding", "true"], "'true' is not a name"),
        (["new", "rounding", "x" * 41], "is not a name"),
        (["new", "rounding", "random"], "would hide the installed module 'random'"),
        (["new", "transform", "torch"], "would hide the installed module 'torch'"),
    ],
)
def test_bad_input_is_one_sentence(capsys, monkeypatch, tmp_path, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, text = call(capsys, monkeypatch, *words)
    assert code == 2
    assert sentence in text
    assert len(text.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["check", "new"])
def test_help_has_examples(capsys, monkeypatch, verb):
    code, text = call(capsys, monkeypatch, verb, "--help")
    assert code == 0
    assert f"mpqbench {verb} " in text.partition("Examples:")[2]


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [
        ("low-rank", "branch", 13),
        ("uniform", "searcher", 8),
        ("fisher", "objective", 5),
        ("eng", "environment", 7),
        ("qat", "tuner", 11),
    ],
)
def test_every_kind_can_be_checked(capsys, monkeypatch, name, kind, number):
    code, text = call(capsys, monkeypatch, "check", name, "--quick")
    assert code == 0, text
    assert text.startswith(f"{kind} '{name}' of package mpqbench")
    assert text.splitlines()[-1] == f"{number} of {number} checks passed"


def test_list_and_info_know_every_kind(capsys, monkeypatch):
    for kind in KINDS:
        code, text = call(capsys, monkeypatch, "list", kind)
        assert (code, text.splitlines()[0]) == (0, f"{kind}:")
        name = text.splitlines()[1].split()[0]
        code, text = call(capsys, monkeypatch, "info", name)
        assert code == 0
        assert f"{kind} '{name}' of package mpqbench" in text
        assert "parameters" in text
        for verb in ("list", "info", "new", "check"):
            assert kind in call(capsys, monkeypatch, verb, "--help")[1]


@pytest.mark.parametrize("name", ["cheapest", "biases"])
def test_the_plugins_of_the_page_pass(capsys, monkeypatch, tmp_path, name):
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(page.partition(f"```python\n# {name}.py\n")[2].partition("```")[0])
    code, text = call(capsys, monkeypatch, "check", name, "--quick", "--plugins", plugin)
    assert code == 0, text


@pytest.mark.parametrize("kind", KINDS)
def test_what_new_writes_works(capsys, monkeypatch, tmp_path, kind):
    code, text = call(capsys, monkeypatch, "new", kind, "my-own", "--out", tmp_path / "plugins")
    assert code == 0
    plugin, test = (tmp_path / "plugins" / name for name in ("my_own.py", "test_my_own.py"))
    assert f"mpqbench check my-own --plugins {plugin}" in text
    assert {path.name for path in plugin.parent.iterdir()} == {plugin.name, test.name}

    code, text = call(capsys, monkeypatch, "check", "my-own", "--plugins", plugin)
    assert code == 0, text
    for tool in (["check", "--select", RULES], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *tool, "--isolated", "--line-length", "100", "."]
        ruff = subprocess.run(command, cwd=plugin.parent, capture_output=True, text=True)
        assert ruff.returncode == 0, ruff.stdout + ruff.stderr

    plugin.write_text("# mine\n")
    code, text = call(capsys, monkeypatch, "new", kind, "my-own", "--out", plugin.parent)
    assert code == 2
    assert "my_own.py exists already" in text
    assert plugin.read_text() == "# mine\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_that_new_writes_passes(capsys, monkeypatch, tmp_path, kind):
    call(capsys, monkeypatch, "new", kind, f"generated-{kind}", "--out", tmp_path)
    inner = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert pytest.main(inner) == 0
    assert " passed" in capsys.readouterr().out
