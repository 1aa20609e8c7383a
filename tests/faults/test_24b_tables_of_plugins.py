"""A ``PLUGINS`` table is validated when it is loaded: recipes given as mappings, and targets."""

import pytest

from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import Recipe
from mpqbench.core.registry import Registry


def test_a_mapping_becomes_a_recipe():
    registry = Registry()
    registry.add_table({"method": {"mine": {"rounding": "nearest", "adaln": "FP"}}}, "file x.py")
    assert registry.method("mine") == Recipe(name="mine", adaln="FP")


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            {"method": {"mine": {"roundin": "nearest"}}},
            "of file x.py: unknown key 'roundin'",
        ),
        ({"method": {"mine": {"base": "rtn"}}}, "'mine' of file x.py: a mapping has no 'base'"),
        ({"method": {"mine": {"evaluations": float("inf")}}}, "must be a finite number"),
        ({"method": {"A b": {"adaln": "FP"}}}, "name 'A b' is no safe file name"),
        ({"method": {"mine": 3}}, r"PLUGINS\['method'\]\['mine'\] of file x.py must be a Recipe"),
        ({"rounding": {"mine": {"a": 1}}}, r"PLUGINS\['rounding'\]\['mine'\] of file x.py must be"),
        ({"rounding": {"mine": None}}, "must be a class, or a text module:attribute, not None"),
        ({"roundings": {}}, "unknown plugin kind 'roundings'; did you mean 'rounding'"),
        ({3: {}}, "unknown plugin kind 3"),
        ({"rounding": {3: "a:b"}}, "must be a table"),
    ],
)
def test_a_table_that_is_wrong(table, sentence):
    registry = Registry()
    with pytest.raises(BenchError, match=sentence):
        registry.add_table(table, "file x.py")
    assert not registry.entries("method")
    assert not registry.entries("rounding")
