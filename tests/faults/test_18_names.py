"""Names that become file names are checked when a run is planned, before anything is sampled."""

import pytest

SUITE = "name: {suite}\nmodels: [fashion-dit]\nmethods: {methods}\nbudgets: [W4A4]\n"
UNSAFE = ["a/b", "../x", ".hidden", "a b", "A", "ä", "-a", "=1+1", "a\\b", "", "x" * 101, "a%b"]


@pytest.fixture
def planned(mpqbench, tmp_path):
    def plan(suite="s", methods="[rtn]"):
        path = tmp_path / "suite.yaml"
        path.write_text(SUITE.format(suite=suite, methods=methods), encoding="utf-8")
        code, _, err = mpqbench("run", path, "-n", "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return code, err

    return plan


@pytest.mark.parametrize("name", UNSAFE)
def test_a_method_needs_a_safe_name(planned, name):
    code, err = planned(methods=f"[{{base: rtn, name: '{name}'}}]")
    assert (code, err.count("\n")) == (2, 1)
    assert "suite.yaml" in err or "method" in err
    assert "name" in err


@pytest.mark.parametrize("name", ["'a/b'", "'../x'", "'.x'", "'a b'", "'ä'", "''", "x" * 240])
def test_a_suite_needs_a_safe_name(planned, name):
    code, err = planned(suite=name)
    assert (code, err.count("\n")) == (2, 1)
    assert "suite.yaml: name" in err


@pytest.mark.parametrize("name", ["123", "no", "null", "1e3"])
def test_a_name_that_yaml_reads_as_something_else(planned, name):
    code, err = planned(suite=name)
    assert code == 2
    assert "suite.yaml: name must be a text" in err


def test_full_precision_is_no_name_of_another_method(planned):
    code, err = planned(methods="[{base: rtn, name: full-precision, adaln: W2A2}]")
    assert code == 2
    assert "'full-precision' is the model as it is" in err


def test_one_model_under_two_spellings(mpqbench, tiny_folder, tmp_path):
    models = ("--model", tiny_folder, "--model", f"{tiny_folder}/.")
    code, _, err = mpqbench("run", "smoke", *models, "-n", "--out", tmp_path / "out")
    assert code == 2
    assert "twice" in err
