"""Settings are validated once, with a sentence for every mistake."""

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.precision import FULL, Allocation, Budget, Precision
from mpqbench.core.protocol import PROTOCOLS, Protocol
from mpqbench.core.recipe import Recipe
from mpqbench.core.settings import digest_of, validate
from mpqbench.lab.suites import load_suite

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
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (
            Precision,
            "w4A8=W4A8 W16A32=FP fp=FP w4a8G032=W4A8g32 w2a3g64-=W2A3g64-",
        ),
        (Budget, "w4a4=W4A4 2.50mb=2.5MB 3.5B=3.5b 3b+W4A8+1MB=W4A8+1MB+3b FP=FP W16A16=FP"),
    ],
)
def test_precisions_and_budgets_print_as_they_parse(kind, texts):
    for text, printed in (pair.split("=") for pair in texts.split()):
        parsed = kind.parse(text)
        assert str(parsed) == printed
        assert kind.parse(printed) == parsed
        if kind is Precision:
            assert Allocation.from_json(Allocation({"a": parsed}).to_json()) == {"a": parsed}


@pytest.mark.parametrize(
    ("kind", "text", "sentence"),
    [
        (Precision, "W1A4", "weight bits must be"),
        (Precision, "4x4", "is not a precision"),
        (Precision, "W4A8g", "is not a precision: write W4A4, W4A8, W4A8g64"),
        (Precision, "W4A8g0", "is not a precision"),
        (Precision, "W16A16g64", "floating point has no scales for groups of 64"),
        (Precision, "W16A8-", "have no branch to leave out: drop the '-'"),
        (Budget, "W4", "'W4' is not a bound: write W4A4, W4A4:total, 2.5MB, 3.5b or FP"),
        (Budget, "W4A4+W3A3", "bounds BitOPs twice: leave one bound out"),
        (Budget, "FP+2MB", "FP bounds nothing"),
        (Budget, "W4A8g64", "'W4A8g64' is not a bound: .*'g64' and '-' are for the precision of a"),
        (Budget, "W4A4-", "budget 'W4A4-': 'W4A4-' is not a bound"),
    ],
)
def test_mistakes_in_precisions_and_budgets(kind, text, sentence):
    with pytest.raises(BenchError, match=sentence):
        kind.parse(text)


def test_allocations_survive_json_and_cannot_be_changed():
    allocation = Allocation({"a": Precision(4, 8), "b": FULL})
    assert Allocation.from_json(allocation.to_json()) == allocation
    assert hash(Allocation.from_json(allocation.to_json())) == hash(allocation)
    with pytest.raises(TypeError):
        allocation["a"] = FULL


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
        ("budgets: [W4]", r"budgets\[0\]: budget 'W4': 'W4' is not a bound"),
        ("methods: []", "methods must have at least 1 member"),
        ("protocol: {base: quick, guidance: 0.5}", "protocol.guidance must be at least 1, not 0.5"),
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
    one = Protocol(name="a", images=5, steps=2).model_dump(mode="json")
    assert digest_of(one) == digest_of(dict(reversed(one.items())))
    assert digest_of(one) != digest_of(one | {"steps": 3})


def test_a_group_format_needs_its_size():
    with pytest.raises(BenchError, match="weight_format: granularity 'group' needs 'group'"):
        validate(Recipe, {"name": "x", "weight_format": {"granularity": "group"}}, "method 'x'")
