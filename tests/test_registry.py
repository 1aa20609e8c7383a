"""Names to plugins, from packages and from files."""

import re

import pytest
import yaml

from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import PluginChoice, Recipe
from mpqbench.core.registry import KINDS, Registry, discover

PLUGIN_FILE = '''
"""A stranger's plugin."""
from mpqbench.contracts import Searcher, plugin
from mpqbench.core.precision import Allocation


@plugin
class Lowest(Searcher):
    """Every group at its cheapest choice."""

    floor: int = 2

    def search(self, problem):
        return Allocation({g: problem.choices(g)[0] for g in problem.groups})


PLUGINS = {"searcher": {"lowest": Lowest}}
'''


@pytest.fixture
def plugin_file(tmp_path):
    path = tmp_path / "stranger.py"
    path.write_text(PLUGIN_FILE, encoding="utf-8")
    return path


def test_our_own_plugins_arrive_through_the_entry_point_group():
    found = discover()
    assert not found.broken
    for kind in KINDS:
        assert found.entries(kind)
    assert "mpqbench.baselines" in found.entry("rounding", "nearest").origin


def test_plugins_from_a_file_or_a_folder_are_loaded_once(plugin_file):
    choice = PluginChoice(name="lowest", params={"floor": 3})
    for path in (plugin_file, plugin_file.parent):
        assert discover([path]).create("searcher", choice).floor == 3
    with pytest.raises(BenchError, match="two plugins are called searcher 'lowest'"):
        discover([plugin_file, plugin_file])


def test_unknown_names_and_parameters_come_with_the_nearest(plugin_file):
    found = discover([plugin_file])
    with pytest.raises(BenchError, match="unknown rounding 'nearst'; did you mean 'nearest'"):
        found.create("rounding", PluginChoice(name="nearst"))
    with pytest.raises(BenchError, match="parameter of searcher 'lowest' 'flor'; did you mean 'fl"):
        found.create("searcher", PluginChoice(name="lowest", params={"flor": 3}))
    with pytest.raises(BenchError, match=r"parameter of branch 'none' 'rank' \(there are none\)"):
        found.create("branch", PluginChoice(name="none", params={"rank": 3}))
    with pytest.raises(BenchError, match="unknown plugin kind 'roundin'"):
        found.entries("roundin")
    with pytest.raises(BenchError, match="unknown plugin 'rntn'; did you mean 'rtn'"):
        found.find("rntn")


@pytest.mark.parametrize(
    ("kind", "name", "value", "sentence"),
    [
        ("rounding", "gptq", "{block: 1.5}", "'gptq': block must be a whole number, not 1.5"),
        ("rounding", "gptq", "{act_order: 'no'}", "act_order must be true or false, not 'no'"),
        ("tuner", "peft", "{rate: '1e-3'}", "must be a number, not '1e-3': write 0.001"),
    ],
)
def test_a_parameter_of_another_type_is_refused(kind, name, value, sentence):
    with pytest.raises(BenchError, match=re.escape(sentence)):
        discover().create(kind, PluginChoice(name=name, params=yaml.safe_load(value)))


def test_a_named_file_must_work(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_like_this\n", encoding="utf-8")
    with pytest.raises(BenchError, match=r"broken.py: ModuleNotFoundError: No module named"):
        discover([broken])
    broken.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(BenchError, match="has no table PLUGINS"):
        discover([broken])
    with pytest.raises(BenchError, match="no such Python file"):
        discover([tmp_path / "absent.py"])


def test_a_target_that_cannot_be_used_is_named():
    registry = Registry()
    roundings = {"lost": "mpqbench.nowhere:Lost", "plain": Registry}
    registry.add_table({"rounding": roundings, "method": {"x": Recipe(name="y")}}, "package x")
    with pytest.raises(BenchError, match="rounding 'lost' of package x cannot be imported"):
        registry.create("rounding", PluginChoice(name="lost"))
    with pytest.raises(BenchError, match="Registry must be a class with the decorator @plugin"):
        registry.create("rounding", PluginChoice(name="plain"))
    with pytest.raises(BenchError, match="method 'x' must be a Recipe of that name"):
        registry.method("x")


def test_methods_by_name_and_by_base():
    found = discover()
    rtn = found.method("rtn")
    assert isinstance(rtn, Recipe)
    grouped = found.method(
        {"base": "rtn", "name": "rtn-g32", "weight_format": {"granularity": "group", "group": 32}}
    )
    assert (grouped.rounding, grouped.weight_format.group) == (rtn.rounding, 32)
    with pytest.raises(BenchError, match="name is missing"):
        found.method({"base": "rtn"})
    with pytest.raises(BenchError, match="method 'x': unknown key 'roundig'; did you mean 'roun"):
        found.method({"name": "x", "roundig": "nearest"})
