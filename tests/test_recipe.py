"""Settings are validated once, with a sentence for every mistake."""

from __future__ import annotations

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.precision import FULL, Allocation, Budget, Precision
from mpqbench.core.protocol import PROTOCOLS, Protocol
from mpqbench.core.recipe import Recipe
from mpqbench.core.settings import digest_of, validate
from mpqbench.core.suite import Suite
from mpqbench.lab.suites import built_in_suites, load_suite

SUITE = """
name: mine
protocol: {base: quick, images: 200}
methods: [rtn]
budgets: [w4a4]
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_precisions_print_as_they_parse():
    assert str(Precision.parse("w4A8")) == "W4A8"
    assert Precision.parse("W16A32") == FULL == Precision.parse("fp")
    assert str(Precision(4, None)) == "W4A16"
    assert (Precision(4, None).weight_bits, FULL.activation_bits) == (4, 16)


@pytest.mark.parametrize("text", ["W1A4", "W9A8", "4x4", "", "W4"])
def test_what_is_no_precision(text):
    with pytest.raises(BenchError):
        Precision.parse(text)


def test_allocations_survive_json_and_cannot_be_changed():
    allocation = Allocation({"a": Precision(4, 8), "b": FULL})
    assert Allocation.from_json(allocation.to_json()) == allocation
    assert hash(Allocation.from_json(allocation.to_json())) == hash(allocation)
    with pytest.raises(TypeError):
        allocation["a"] = FULL
    assert str(Budget.parse("W4A4")) == "W4A4"


def test_built_in_suites_are_valid():
    assert {"quick", "smoke", "full"} <= set(built_in_suites())
    quick = load_suite("quick")
    assert quick.budgets == ("W8A8", "W6A6", "W4A8", "W4A4", "W3A3")
    assert quick.protocol == PROTOCOLS["quick"]


def test_a_suite_from_a_file_with_overrides(write):
    suite = load_suite(write(SUITE), {"seeds": (1, 2), "protocol": {"steps": 7}})
    assert (suite.name, suite.budgets, suite.seeds) == ("mine", ("W4A4",), (1, 2))
    assert (suite.protocol.images, suite.protocol.steps) == (200, 7)
    assert suite.protocol.guidance == PROTOCOLS["quick"].guidance


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("buget: 3", "unknown key 'buget'; did you mean 'budgets'"),
        ("protocol: {base: quik}", "unknown protocol 'quik'; did you mean 'quick'"),
        ("protocol: {base: quick, imagse: 3}", "unknown key 'imagse'; did you mean 'images'"),
        ("budgets: [W4]", "budgets.0: budget 'W4': 'W4' is no bound"),
        ("methods: []", "methods: .*at least 1"),
        ("protocol: {base: quick, guidance: 0.5}", "protocol.guidance: .*greater than or equal"),
    ],
)
def test_mistakes_in_a_suite(write, text, sentence):
    key = text.split(":")[0]
    lines = [line for line in SUITE.splitlines() if not line.startswith(key)]
    with pytest.raises(BenchError, match=sentence):
        load_suite(write("\n".join([*lines, text])))


def test_missing_unknown_and_malformed_suites(write, tmp_path):
    with pytest.raises(BenchError, match="unknown suite 'quik'; did you mean 'quick'"):
        load_suite("quik")
    with pytest.raises(BenchError, match=r"absent.yaml does not exist"):
        load_suite(str(tmp_path / "absent.yaml"))
    with pytest.raises(BenchError, match="not readable YAML"):
        load_suite(write("a: [1"))
    with pytest.raises(BenchError, match="a suite is a mapping"):
        load_suite(write("- 1"))


def test_the_short_form_of_a_plugin():
    recipe = validate(Recipe, {"name": "x", "rounding": {"name": "nearest", "a": 1}}, "test")
    assert recipe.rounding.params == {"a": 1}
    assert Recipe(name="x", rounding="nearest").rounding.name == "nearest"


def test_digests_follow_content_not_order():
    def digest(settings):
        return digest_of(settings.model_dump(mode="json"))

    one = digest(Protocol(name="a", images=5, steps=2))
    assert one == digest(Protocol(steps=2, images=5, name="a"))
    assert one != digest(Protocol(name="a", images=5, steps=3))
    upper, lower = (Suite(name="s", methods=("rtn",), budgets=(b,)) for b in ("W4A4", "w4a4"))
    assert digest(upper) == digest(lower)


def test_a_group_format_needs_its_size():
    with pytest.raises(BenchError, match="weight_format: granularity 'group' needs 'group'"):
        validate(Recipe, {"name": "x", "weight_format": {"granularity": "group"}}, "method 'x'")
