"""From a method and what is asked for to recipes."""

from __future__ import annotations

import re

import pytest
import yaml

from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import PluginChoice, Recipe
from mpqbench.core.registry import discover
from mpqbench.lab.ablation.design import default_factors, factors_from, parse_factors
from mpqbench.lab.ablation.plan import factorial, sweep

METHOD = Recipe(
    name="mine",
    transform="hadamard",
    searcher={"name": "tss", "keep": 4},
    environment={"name": "eng", "noise": 0.5},
    choices=("W2A3", "W4A4"),
)


@pytest.fixture(scope="module")
def registry():
    return discover()


def planned(registry, *texts, method=METHOD, **options):
    return factorial(method, parse_factors(texts, method), registry, **options)


def test_by_default_every_slot_that_is_filled_is_on_and_off(registry):
    plan = factorial(METHOD, default_factors(METHOD), registry)
    assert plan.levels == {
        "transform": ("hadamard", "off"),
        "searcher": ("tss", "off"),
        "environment": ("eng", "off"),
    }
    assert plan.base == {"transform": "hadamard", "searcher": "tss", "environment": "eng"}
    assert len(plan.cells) == 8
    assert len({cell.recipe.name for cell in plan.cells}) == 6  # no search, no environment
    names = [cell.name for cell in plan.cells]
    assert names[0] == "mine.hadamard.tss.eng"
    assert names[-1] == "mine.off.off.off"
    assert plan.cells[-1].recipe.name == "mine.off.off.eng"
    first, last = plan.cells[0].recipe, plan.cells[-1].recipe
    assert first.model_copy(update={"name": "mine"}) == METHOD
    assert last.summary.startswith("mine with transform none, searcher uniform")
    rest = {"name": "rtn", "summary": "", "environment": PluginChoice(name="clean")}
    assert last.model_copy(update=rest) == Recipe(name="rtn", choices=METHOD.choices)


def test_levels_are_names_choices_and_choices_with_a_name(registry):
    plan = planned(
        registry,
        "searcher=ilp|tss|{name: tss, keep: 8}",
        "environment={name: eng, noise: 0.25}|half: {name: eng, noise: 0.5}|off: clean",
    )
    assert plan.levels == {
        "searcher": ("ilp", "tss-keep-4", "tss-keep-8"),
        "environment": ("eng", "half", "off"),
    }
    assert plan.base["searcher"] == "tss-keep-4"  # the bare name is the method's own choice
    assert plan.base["environment"] == "half"
    (cell,) = [c for c in plan.cells if c.levels[0] == "tss-keep-8" and c.levels[1] == "off"]
    assert cell.recipe.searcher == PluginChoice(name="tss", params={"keep": 8})
    assert cell.recipe.environment == PluginChoice(name="clean")
    assert cell.recipe.choices == METHOD.choices


def test_a_file_may_set_several_fields_in_a_level(registry):
    text = """
    formats:
      rows: {}
      blocks: {weight_format: {granularity: group, group: 8}, attention_bits: 8}
    search: {on: , off: {searcher: uniform}}
    """
    plan = factorial(METHOD, factors_from(yaml.safe_load(text), "f.yaml"), registry)
    assert plan.levels == {"formats": ("rows", "blocks"), "search": ("on", "off")}
    assert plan.base == {"formats": "rows", "search": "on"}
    recipe = plan.cells[-1].recipe
    assert (recipe.weight_format.group, recipe.attention_bits) == (8, 8)
    assert recipe.searcher.name == "uniform"


def test_one_factor_at_a_time(registry):
    plan = planned(registry, "searcher=uniform|tss|ilp", "environment=eng|clean", full=False)
    assert [cell.levels for cell in plan.cells] == [
        ("tss", "eng"), ("uniform", "eng"), ("ilp", "eng"), ("tss", "clean"),
    ]  # fmt: skip


def test_sweeps_change_one_number(registry):
    found = sweep("environment.noise=0,0.25,1", METHOD, registry)
    assert [row["value"] for row in found.rows] == ["0", "0.25", "1"]
    assert [c.name for c in found.cells] == ["mine.noise-0", "mine.noise-0.25", "mine.noise-1"]
    cell = found.cells[1]
    assert cell.recipe.environment.params == {"noise": 0.25}
    assert cell.recipe.searcher == METHOD.searcher
    assert sweep("evaluations=10,20", METHOD, registry).cells[1].recipe.evaluations == 20
    protocol = sweep("protocol.calibration=16,64", METHOD, registry).cells[0]
    assert protocol.protocol == {"calibration": 16}
    assert protocol.recipe.model_copy(update={"name": "mine"}) == METHOD


BRANCHES = "branch=monarch|{name: low-rank, bits: 8}|sparse|none"


def test_a_sweep_has_a_line_for_every_level_of_a_factor(registry):
    factors = parse_factors([BRANCHES], METHOD)
    found = sweep("branch.like_rank|rank=1,2", METHOD, registry, factors)
    assert [cell.name for cell in found.cells] == [
        "mine.monarch.like_rank-1", "mine.monarch.like_rank-2",
        "mine.low-rank.rank-1", "mine.low-rank.rank-2",
        "mine.sparse.like_rank-1", "mine.sparse.like_rank-2", "mine.none",
    ]  # fmt: skip
    assert found.cells[3].recipe.branch.params == {"bits": 8, "rank": 2}
    assert found.rows[3] == {
        "branch": "low-rank", "setting": "branch.like_rank", "value": "2",
        "method": "mine.low-rank.rank-2",
    }  # fmt: skip
    assert (found.rows[-1]["branch"], found.rows[-1]["value"]) == ("none", "")


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["searchr=tss|ilp"], "unknown slot 'searchr'; did you mean 'searcher'"),
        (["searcher"], "is not SLOT=LEVEL|LEVEL"),
        (["searcher=tss"], "has one level"),
        (["searcher=tss|ilb"], "did you mean 'ilp'"),
        (["searcher=tss|{name: ilp, kep: 3}"], "unknown parameter of searcher 'ilp' 'kep'"),
        (["searcher=tss|{name: ilp"], "is not readable YAML"),
        (["searcher=tss|a b: ilp"], "is no safe file name"),
        (["searcher=x: tss|x: ilp"], "2 levels called 'x'"),
        (["searcher=tss|ilp", "searcher=tss|dp"], "two factors are called 'searcher'"),
    ],
)
def test_mistakes_in_factors(registry, texts, sentence):
    with pytest.raises(BenchError, match=re.escape(sentence)):
        planned(registry, *texts)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"a": {"x": {"sercher": "tss"}, "y": {}}}, "did you mean 'searcher'"),
        ({"a": {"x": "tss", "y": {}}}, "level 'x' is no mapping"),
        (["a"], "f.yaml is no mapping"),
        ({"a": {"x": {"adaln": "FP"}, "y": {}}, "b": {"u": {}, "v": {"adaln": "W4A4"}}},
         "factors 'a' and 'b' both set 'adaln'"),
        ({"budget": {"x": {}, "y": {"adaln": "FP"}}}, "cannot be called 'budget'"),
    ],
)  # fmt: skip
def test_mistakes_in_files(registry, data, sentence):
    with pytest.raises(BenchError, match=re.escape(sentence)):
        factorial(METHOD, factors_from(data, "f.yaml"), registry)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("searcher.keep", "is not SLOT.PARAMETER=V1,V2"),
        ("searcher.keep=4", "two values at least"),
        ("searcher.keep=4,4.0", "none of them twice"),
        ("searcher.keep=4,many", "'many' is no number"),
        ("searcher.kep=4,8", "did you mean 'keep'"),
        ("sercher.keep=4,8", "did you mean 'searcher'"),
        ("protocol.calibraton=4,8", "did you mean 'calibration'"),
        ("searcher.keep=0,8", "keep"),
        ("branch.lik_rank=1,2", "unknown parameter of branch 'monarch' 'lik_rank'"),
        ("branch.like_rank=0,1", "like_rank"),
    ],
)
def test_mistakes_in_sweeps(registry, text, sentence):
    factors = parse_factors([BRANCHES], METHOD) if text.startswith("branch") else {}
    with pytest.raises(BenchError, match=re.escape(sentence)):
        sweep(text, METHOD, registry, factors)
