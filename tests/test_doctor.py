"""``mpqbench doctor``: what is there is printed, and what is missing is a problem with a remedy."""

import json
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch

MODULE = "mpqbench.cli.doctor"


@pytest.fixture
def lacking(monkeypatch):
    """Replace what the command asks for: requirements, the folder of assets, or broken plugins."""

    def replace(**found):
        for name, value in found.items():
            monkeypatch.setattr(f"{MODULE}.{name}", lambda *_, value=value: value)

    return replace


def test_a_whole_installation_has_no_problems(mpqbench):
    code, printed, errors = mpqbench("doctor")
    assert (code, errors) == (0, "")
    lines = printed.splitlines()
    assert lines[-1] == "no problems found"
    for package in ("mpqbench", "diffusers", "torch"):
        assert f"{package:15s} {version(package)}" in lines
    assert any(
        line.startswith("device") and f"{torch.get_num_threads()} th" in line for line in lines
    )
    assert any("6726825d.pth" in line for line in lines)
    assert any(line.startswith("kernels ") for line in lines)


def test_kernels_that_were_not_built_are_no_problem_but_said(mpqbench, monkeypatch):
    monkeypatch.setattr("mpqbench.dit.native.library", lambda: None)
    code, printed, _ = mpqbench("doctor")
    assert code == 0
    assert "not built (install again where a C++ compiler is): slower" in printed


def test_a_missing_package_is_a_problem_unless_it_is_optional(mpqbench, lacking):
    lacking(requirements=[("not-installed", ""), ("not-here", "search"), ("other", "dev")])
    code, printed, _ = mpqbench("doctor")
    assert code == 1
    assert "not-installed is missing: pip install not-installed" in printed
    assert (
        "missing (optional, for searchers evolutionary and tpe): pip install '.[search]'" in printed
    )
    assert "1 problem(s)" in printed
    assert "other " not in printed


@pytest.mark.parametrize("content", [b"damaged", None])
def test_a_changed_asset_is_a_problem(mpqbench, lacking, tmp_path, content):
    (tmp_path / "manifest.json").write_text(
        json.dumps({"sha256": {"net.safetensors": "0" * 64}}), encoding="utf-8"
    )
    if content is not None:
        (tmp_path / "net.safetensors").write_bytes(content)
    lacking(files=tmp_path)
    code, printed, _ = mpqbench("doctor")
    assert code == 1
    assert "asset net.safetensors differs from the released file" in printed


def test_without_a_manifest_the_remedy_is_named(mpqbench, lacking, tmp_path):
    lacking(files=tmp_path)
    code, printed, _ = mpqbench("doctor")
    assert code == 1
    assert f"{tmp_path / 'manifest.json'} is missing: install mpqbench again" in printed


def test_a_broken_plugin_package_is_a_problem(mpqbench, lacking):
    lacking(discover=SimpleNamespace(broken={"some-package": "ImportError: gone"}))
    code, printed, _ = mpqbench("doctor")
    assert code == 1
    assert "some-package is broken: ImportError: gone" in printed
