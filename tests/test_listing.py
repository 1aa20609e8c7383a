"""``list``, ``info`` and ``--help``: light, and true to what the plugins are."""

import ast
import inspect
import json
import subprocess
import sys

import pytest

from mpqbench.core.listing import read_source
from mpqbench.core.recipe import SLOTS
from mpqbench.core.registry import discover, parameters

HEAVY = ("torch", "scipy", "torch_fidelity", "PIL", "pandas", "matplotlib")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["score", "--help"], ["list"], ["info", "gptq"]]
)
def test_a_light_command_imports_nothing_heavy(arguments):
    program = (
        "import json, sys\n"
        "from mpqbench.cli.main import main\n"
        f"sys.argv = ['mpqbench', *{arguments}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


ENTRIES = [entry for kind in SLOTS for entry in discover().entries(kind)]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_what_the_source_says_is_what_the_imported_class_says(entry):
    source, plugin = read_source(entry.target), entry.load()
    assert source.docstring == inspect.getdoc(plugin)
    assert str(source.file) == inspect.getsourcefile(plugin)
    defaults = {key: None if value is ... else value for key, value in parameters(plugin).items()}
    shown = {key: text and ast.literal_eval(text) for key, text in source.parameters.items()}
    assert list(shown) == list(defaults)
    assert shown == defaults


STRANGE = """
import enum
from dataclasses import dataclass, field

SIZE = 3
class A(enum.Enum): ...
@dataclass
class B:
    size: int = field(default=3, init=False)
@dataclass
class C:
    size: int = SIZE
    name: str = ...
"""


def test_what_the_source_cannot_tell_is_left_to_an_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "strange_plugins.py").write_text(STRANGE, encoding="utf-8")
    for name in ("A", "B", "Nothing"):
        assert read_source(f"strange_plugins:{name}") is None
    assert read_source("strange_plugins:C").parameters == {"size": "3", "name": None}
    for target in ("mpqbench.core.recipe:FULL_PRECISION", "mpqbench.nowhere:X", "no.where:X"):
        assert read_source(target) is None
