"""Installed packages that are broken: named with the reason, and nothing else suffers."""

import sys

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.registry import discover

BROKEN = {
    "raises": ("raise RuntimeError('not today')", "RuntimeError: not today"),
    "no-table": ("x = 1", "has no table PLUGINS"),
    "list-table": ("PLUGINS = [1]", "has no table PLUGINS"),
    "list-names": ("PLUGINS = {'rounding': ['a']}", "PLUGINS['rounding'] of package"),
    "odd-name": ("PLUGINS = {'rounding': {1: 'a:b'}}", "PLUGINS['rounding'] of package"),
    "odd-kind": ("PLUGINS = {'roundin': {'a': 'b:c'}}", "unknown plugin kind 'roundin'"),
    "taken": (
        "PLUGINS = {'rounding': {'first': 'a:b', 'nearest': 'a:b'}}",
        "two plugins are called rounding 'nearest'",
    ),
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package of one module with an entry point on the path, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, source):
        module = "aaa_" + name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: aaa-{name}\nVersion: 1.0\n", encoding="utf-8"
        )
        (info / "entry_points.txt").write_text(
            f"[mpqbench.plugins]\nx = {module}\n", encoding="utf-8"
        )
        return module

    yield write
    for name in [name for name in sys.modules if name.startswith("aaa_")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_package_is_listed_and_nothing_else_suffers(name, install, mpqbench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a line for each plugin
    ours = {entry.name for entry in discover().entries("rounding")}
    source, reason = BROKEN[name]
    install(name, source)
    install("works", "PLUGINS = {'rounding': {'stranger': 'nowhere:Nothing'}}")
    code, out, err = mpqbench("list")
    assert code == 0
    broken = [line for line in err.splitlines() if line.startswith("broken: ")]
    assert len(broken) == 1
    assert broken[0].startswith(f"broken: package aaa-{name} (aaa_{name.replace('-', '_')}): ")
    assert reason in broken[0]
    listed = out.partition("rounding:")[2].partition("\nbranch:")[0].split("\n")
    rows = {line.split()[0]: line for line in listed if line.strip()}
    assert set(rows) == ours | {"stranger"}
    assert "cannot be imported: ModuleNotFoundError" in rows["stranger"]
    assert "mpqbench.baselines" in discover().entry("rounding", "nearest").origin


def test_an_unknown_name_points_to_the_broken_packages(install):
    install("raises", "raise RuntimeError('not today')")
    with pytest.raises(BenchError, match=r"unknown rounding 'mine'.*aaa-raises.*not today"):
        discover().entry("rounding", "mine")
