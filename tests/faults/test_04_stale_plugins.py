"""Whatever file a plugin's result depends on is in its fingerprint."""

import sys

import pytest

from mpqbench.core.recipe import Recipe
from mpqbench.core.registry import discover

PLUGIN = """
import importlib, json, sys
from pathlib import Path
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.contracts import Rounding, plugin
{imports}

@plugin
class Own(Rounding):
    def round(self, weight, layer, fmt, bits):
        {inside}
        return Nearest().round(weight, layer, fmt, bits)

PLUGINS = {{"rounding": {{"own": Own}}}}
"""
HERE = "sys.path.insert(0, str(Path(__file__).parent)) if True else None\n"
CASES = {
    "import beside the file": (HERE + "import helper_a", "pass", "helper_a.py"),
    "import of an import": (HERE + "import helper_b", "pass", "helper_c.py"),
    "module of a package": (HERE + "from tools_d import helper", "pass", "tools_d/helper.py"),
    "constants of a sibling": (HERE + "import tools_d.user", "pass", "tools_d/consts.py"),
    "import by name": (
        HERE + "NAME = 'helper_a'\nhelper = importlib.import_module(NAME)", "pass", "helper_a.py",
    ),
    "import by name inside": (
        HERE, "importlib.import_module('helper_a')", "helper_a.py",
    ),
    "import with a fall-back": (
        HERE + "try:\n    from . import helper_a\nexcept ImportError:\n    import helper_a", "pass",
        "helper_a.py",
    ),
    "table beside the file": (
        "TABLE = json.loads(Path(__file__).with_name('table.json').read_text())", "pass",
        "table.json",
    ),
    "table of a helper": (HERE + "import helper_e", "pass", "data/numbers.txt"),
}  # fmt: skip
FILES = {
    "helper_a.py": "A = 1\n",
    "helper_b.py": "import helper_c\n",
    "helper_c.py": "C = 1\n",
    "helper_e.py": "from pathlib import Path\nE = Path(__file__).parent / 'data/numbers.txt'\n",
    "data/numbers.txt": "1 2 3\n",
    "table.json": "[1, 2]\n",
    "tools_d/__init__.py": "",
    "tools_d/helper.py": "D = 1\n",
    "tools_d/consts.py": "D = 1\n",
    "tools_d/user.py": "from . import consts\n",
    "unused.py": "U = 1\n",
}


@pytest.fixture(autouse=True)
def _fresh_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = {name.partition("/")[0].partition(".")[0] for name in FILES} | {"own_package"}
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] in names]:
        del sys.modules[name]


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def digest(path=None):
    registry = discover([path] if path else [])
    return registry.source_digest(Recipe(name="own", rounding="own"))


@pytest.mark.parametrize("case", CASES)
def test_an_edit_of_a_file_that_a_plugin_reads_makes_it_stale(tmp_path, case):
    imports, inside, edited = CASES[case]
    write(tmp_path, FILES)
    path = tmp_path / "plugin_file.py"
    path.write_text(PLUGIN.format(imports=imports, inside=inside), encoding="utf-8")
    before = digest(path)
    assert digest(path) == before
    for name, changes in ((edited, True), ("unused.py", False)):
        text = (tmp_path / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text + " \n", encoding="utf-8")
        assert (digest(path) != before) == changes
        (tmp_path / name).write_text(text, encoding="utf-8")


def test_a_class_that_a_helper_makes_belongs_to_the_file_of_its_table(tmp_path):
    helper = PLUGIN.format(imports="", inside="pass").replace("PLUGINS =", "OTHER =")
    write(tmp_path, {"helper_a.py": helper})
    path = tmp_path / "plugin_file.py"
    table = "from helper_a import Own\nLEVEL = 1\nPLUGINS = {'rounding': {'own': Own}}\n"
    path.write_text(
        "import sys\nsys.path.insert(0, str(__file__).rpartition('/')[0])\n" + table,
        encoding="utf-8",
    )
    before = digest(path)
    path.write_text(
        path.read_text(encoding="utf-8").replace("LEVEL = 1", "LEVEL = 2"), encoding="utf-8"
    )
    assert digest(path) != before


@pytest.mark.parametrize("name", ["numbers.npy", "deep/consts.py", "__init__.py"])
def test_a_package_counts_with_all_its_files(tmp_path, monkeypatch, name):
    files = {"__init__.py": "", "deep/consts.py": "X = 1\n", "numbers.npy": "1\n"}
    files["own.py"] = PLUGIN.format(imports="", inside="pass")
    write(tmp_path / "own_package", files)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "table.py"
    path.write_text("PLUGINS = {'rounding': {'own': 'own_package.own:Own'}}\n", encoding="utf-8")
    before = digest(path)
    (tmp_path / "own_package" / name).write_text("# other\n", encoding="utf-8")
    assert digest(path) != before
