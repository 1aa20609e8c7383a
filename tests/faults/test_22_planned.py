"""What can be known before a job runs is checked by ``run -n`` and before the first job."""

import sys
from types import SimpleNamespace

import pytest

SMOKE = "protocol: {base: smoke, images: 16, steps: 2, features: none, calibration: 4}\n"


@pytest.fixture(params=[("-n",), ()], ids=["planned", "run"])
def refused(request, mpqbench, tiny_folder, tmp_path, monkeypatch):
    """Plan or run a suite; nothing may be written. Returns what is said."""
    monkeypatch.chdir(tmp_path)

    def run(methods="[rtn]", budget="W4A4", arguments=()):
        path = tmp_path / "suite.yaml"
        path.write_text(f"methods: {methods}\nbudgets: [{budget}]\n{SMOKE}", encoding="utf-8")
        given = ("--model", tiny_folder, "--out", tmp_path / "out", *arguments)
        code, _, err = mpqbench("run", path, *given, *request.param)
        assert (code, err.count("\n")) == (2, 1), err
        assert not list((tmp_path / "out").rglob("*.*"))
        return err

    return run


@pytest.mark.parametrize(
    "fields",
    [
        "weight_format: {granularity: group, group: 7}",
        "activation_format: {granularity: token-group, group: 7}",
        "searcher: ilp, choices: [W4A4g7, W3A3]",
    ],
)
def test_a_group_size_that_does_not_divide(refused, fields):
    err = refused(f"[{{base: rtn, name: g, {fields}}}]")
    assert "method 'g'" in err
    assert "group 7 does not divide its width" in err


def test_choices_that_need_bits(refused):
    err = refused("[{base: rtn, name: g, searcher: ilp, choices: [neighbours]}]", "2.5MB")
    assert "needs a budget with bits" in err


def test_choices_that_are_there_twice(refused):
    err = refused("[{base: rtn, name: g, searcher: ilp, choices: [W4A4, w4a4]}]")
    assert "choices: W4A4 is there twice" in err


@pytest.mark.parametrize(("method", "package"), [("tpe", "optuna"), ("evolutionary", "pymoo")])
def test_a_package_that_is_not_installed(refused, monkeypatch, method, package):
    found = SimpleNamespace(lookup=lambda name: None if name == package else object())
    monkeypatch.setattr("mpqbench.core.packages.find_spec", found.lookup)
    err = refused(f"[{{base: rtn, name: g, searcher: {method}, choices: [W4A4, W3A3]}}]")
    assert f"searcher '{method}' needs the package {package}" in err
    assert "pip install '.[search]' in a clone of mpqbench" in err


@pytest.mark.parametrize("device", ["meta", "cuda:7", "nothing", "", "xla", "cpu:x"])
def test_devices(refused, device):
    assert f"device '{device}' cannot be used here" in refused(arguments=("--device", device))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--features", "incepton"), "unknown feature network 'incepton'"),
        (("--features", "fashion"), "features 'fashion' are of 32x32x1 images"),
        (("--features", "inception-adm", "--feature-weights", "no.pth"), "no.pth"),
        (("--method", "rtm"), "unknown method 'rtm'; did you mean 'rtn'?"),
    ],
)
def test_names(refused, arguments, sentence):
    assert sentence in refused(arguments=arguments)


def test_a_span_beyond_the_steps(refused):
    assert "has span 10" in refused("[treeq-peft]", "W4A4")


def test_doctor_names_optional_packages(mpqbench):
    before = "pymoo" in sys.modules
    _, printed, _ = mpqbench("doctor")
    for package in ("optuna", "pymoo", "clean-fid"):
        line = next(line for line in printed.splitlines() if line.startswith(f"{package} "))
        assert "(optional, for " in line
    assert ("pymoo" in sys.modules) == before
