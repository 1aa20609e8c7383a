"""Numbers of settings are finite, of their own type and within bounds, wherever they come from."""

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import PluginChoice, Recipe
from mpqbench.core.registry import discover
from mpqbench.core.settings import validate
from mpqbench.lab.suites import load_suite

SUITE = "name: s\nmethods: [rtn]\nbudgets: [W4A4]\n"
HUGE = "1" + "0" * 30


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "suite.yaml"
        path.write_text(text, encoding="utf-8")
        return load_suite(str(path))

    return load


@pytest.mark.parametrize("value", ["true", "'32'", "32.0", "0", "-3", HUGE, ".inf", "[1]", "null"])
@pytest.mark.parametrize("key", ["images", "steps", "micro_batch", "calibration"])
def test_whole_numbers_of_a_protocol(load, key, value):
    with pytest.raises(BenchError, match=rf"suite\.yaml: protocol\.{key}"):
        load(f"{SUITE}protocol: {{base: smoke, {key}: {value}}}")


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "true", "'1.5'", "0.5", HUGE])
def test_guidance(load, value):
    with pytest.raises(BenchError, match=r"suite\.yaml: protocol\.guidance"):
        load(f"{SUITE}protocol: {{base: smoke, guidance: {value}}}")


@pytest.mark.parametrize("value", ["true", "1.0", "-1", "9" * 40, str(2**63), "'1'", "010", ".inf"])
def test_seeds(load, value):
    with pytest.raises(BenchError, match=r"suite\.yaml: seeds\[0\]"):
        load(f"{SUITE}seeds: [{value}]")


def test_the_largest_seed(load):
    assert load(f"{SUITE}seeds: [{2**63 - 1}]").seeds == (2**63 - 1,)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 0, -1, True, "5"])
@pytest.mark.parametrize("key", ["evaluations", "early_drop"])
def test_numbers_of_a_recipe(key, value):
    with pytest.raises(BenchError, match=key):
        validate(Recipe, {"name": "x", key: value}, "method 'x'")


@pytest.mark.parametrize("value", [True, 4.0, "4", 10**30])
def test_whole_numbers_of_formats(value):
    for fields in (
        {"attention_bits": value},
        {"weight_format": {"granularity": "group", "group": value}},
        {"activation_format": {"granularity": "tensor", "time_groups": value}},
    ):
        with pytest.raises(BenchError, match="method 'x'"):
            validate(Recipe, {"name": "x", **fields}, "method 'x'")


@pytest.mark.parametrize("value", ["no", 1, 0.0])
def test_truth_values(value):
    with pytest.raises(BenchError, match="must be true or false"):
        validate(Recipe, {"name": "x", "branch_in_budget": value}, "method 'x'")
    with pytest.raises(BenchError, match=r"weight_format\.symmetric: .*full, restricted or false"):
        validate(Recipe, {"name": "x", "weight_format": {"symmetric": value}}, "method 'x'")


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), [1, float("-inf")], object(), {1: 2}]
)
def test_parameters_of_plugins_are_plain_and_finite(value):
    with pytest.raises(BenchError, match=r"method 'x': rounding\.params|method 'x': rounding"):
        validate(
            Recipe, {"name": "x", "rounding": {"name": "gptq", "damping": value}}, "method 'x'"
        )


@pytest.mark.parametrize("value", [True, "0.01", -1.0, 0])
def test_parameters_of_plugins_are_strict(value):
    choice = PluginChoice(name="gptq", params={"damping": value})
    with pytest.raises(BenchError, match="rounding 'gptq': damping must be"):
        discover().create("rounding", choice)


def test_a_number_in_scientific_notation_is_a_number(load):
    suite = load(
        SUITE.replace("[rtn]", "[{base: gptq, name: g, rounding: {name: gptq, damping: 1e-2}}]")
    )
    assert suite.methods[0]["rounding"]["damping"] == 0.01


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "0"])
def test_options_take_finite_numbers_too(mpqbench, tmp_path, value):
    out = ("--out", tmp_path / "out")
    code, _, err = mpqbench("study", "searchers", "--evaluations", value, *out)
    assert code == 2
    assert "evaluations" in err
    assert not (tmp_path / "out").exists()
