"""Classes of formats: what a suite runs, what a record says, and who is ranked against whom."""

import pytest
from records_of import record_of

from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat, format_class
from mpqbench.core.registry import discover
from mpqbench.core.settings import validate
from mpqbench.core.suite import Suite
from mpqbench.lab.suite import plan
from mpqbench.report.grid import ranked
from mpqbench.report.table import leaderboard

GROUP = {"granularity": "group", "group": 64}


@pytest.mark.parametrize(
    ("weight", "activation", "name"),
    [
        ({}, {}, "channel"),
        ({"symmetric": False}, {"symmetric": "full"}, "channel"),
        (GROUP, {"granularity": "token-group", "group": 64}, "g64"),
        (GROUP, {"granularity": "token-group", "group": 32}, "g64/g32"),
        (GROUP, {}, "g64/token"),
        ({}, {"granularity": "tensor"}, "channel/static"),
    ],
)
def test_two_formats_have_one_class(weight, activation, name):
    assert format_class(WeightFormat(**weight), ActivationFormat(**activation)) == name


def _jobs(**fields):
    given = {"name": "mine", "methods": ("gptq", "q-dit"), "budgets": ("W4A4",)} | fields
    return plan(validate(Suite, given, "mine"), discover(), "cpu")


def test_a_suite_gives_every_method_the_formats_of_each_class_but_where_they_are_its_idea():
    jobs = {job.id.rpartition("__p")[0]: job.recipe for job in _jobs(formats=("channel", "g32"))}
    assert list(jobs) == [
        "fashion-dit__full-precision__FP__s0",
        "fashion-dit__gptq__W4A4__channel__s0",
        "fashion-dit__gptq__W4A4__g32__s0",
        "fashion-dit__q-dit__W4A4__own__s0",
    ]
    _, channel, groups, own = jobs.values()
    assert (channel.weight_format, channel.activation_format) == (
        WeightFormat(symmetric=False),
        ActivationFormat(symmetric=False),
    )
    assert groups.weight_format == WeightFormat(granularity="group", group=32, symmetric=False)
    assert groups.activation_format == ActivationFormat(granularity="token-group", group=32)
    assert own == discover().method("q-dit")
    changed = {"weight_format", "activation_format"}
    assert groups.model_dump(exclude=changed) == channel.model_dump(exclude=changed)


def test_without_classes_methods_keep_their_formats_and_ids():
    assert [(job.id.rpartition("__p")[0], job.recipe.format_class) for job in _jobs()[1:]] == [
        ("fashion-dit__gptq__W4A4__s0", "channel"),
        ("fashion-dit__q-dit__W4A4__s0", "own"),
    ]


@pytest.mark.parametrize("name", ["token", "g0", "g", "32", "g9999999"])
def test_an_unknown_class_says_what_would_be_right(name):
    with pytest.raises(BenchError, match=r"formats.*write channel, or g32"):
        _jobs(formats=(name,))


def test_group_sizes_among_the_choices_have_no_class():
    method = {"base": "rtn", "name": "sizes", "searcher": "ilp", "choices": ["W4A4g32", "W4A4g64"]}
    assert _jobs(methods=(method,))[1].recipe.format_class == "own"
    with pytest.raises(BenchError, match=r"'sizes' searches group sizes.*format_is_part: true"):
        _jobs(methods=(method,), formats=("g32",))


def test_rows_are_ranked_and_tied_within_their_class_alone():
    g32 = {
        "weight_format": {"granularity": "group", "group": 32, "symmetric": True},
        "activation_format": {"granularity": "token-group", "group": 32, "symmetric": False},
    }
    rows = [
        ("rtn", 9.0, {}),
        ("gptq", 8.0, {"weight_format": {"granularity": "channel", "symmetric": True}}),
        ("groups", 3.0, g32),
        ("treeq", 2.9, g32),
        ("q-dit", 1.0, g32 | {"format_is_part": True}),
    ]
    records = [
        record_of(method, "W4A4", fd, recipe={"name": method, **recipe})
        for method, fd, recipe in rows
    ]
    block = leaderboard([record_of("full-precision", "FP", 0.5), *records]).blocks[0]
    found = {row["method"]: (row["format"], row["rank"]) for row in block.rows[1:]}
    assert found == {
        "gptq": ("channel", 1),
        "rtn": ("channel", 2),
        "treeq": ("g32", 1),
        "groups": ("g32", 2),
        "q-dit": ("own", None),
    }
    ties = {row["method"]: row["ties"] for row in block.rows[1:]}
    assert all("best" not in ties[name] for name in ("gptq", "treeq", "q-dit"))
    bold = {
        block.rows[at]["method"]
        for (at, column), place in ranked(block).items()
        if column == "fd" and place == 1
    }
    assert bold == {"gptq", "treeq"}
    assert block.column("format").view == "brief"
