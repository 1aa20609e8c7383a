"""A plugin that calls sys.exit fails its job; a plugin file that does is refused."""

import pytest
from plugin_runs import run_methods, write_plugins

from mpqbench.conformance import checks

QUITS = """
@plugin
class Quits(Rounding):
    def round(self, weight, layer, fmt, bits):
        sys.exit(0)

@plugin
class Leaves(Searcher):
    def search(self, problem):
        raise SystemExit

@plugin
class Early(Rounding):
    def __post_init__(self):
        sys.exit(3)
    def round(self, weight, layer, fmt, bits):
        return None

PLUGINS = {"rounding": {"quits": Quits, "early": Early}, "searcher": {"leaves": Leaves}}
"""


@pytest.mark.parametrize(
    ("slot", "name", "reason"), [("rounding", "quits", "(0)"), ("searcher", "leaves", "()")]
)
def test_the_job_fails_and_the_suite_goes_on(mpqbench, tmp_path, tiny_folder, slot, name, reason):
    methods = [f"{{base: rtn, name: bad, {slot}: {name}}}", "{base: rtn, name: after}"]
    _, _, records = run_methods(mpqbench, tmp_path, tiny_folder, methods, QUITS)
    assert records["bad"]["status"] == "failed"
    assert records["bad"]["reason"] == f"a plugin called sys.exit{reason}"
    assert records["after"]["status"] == "done"
    assert (tmp_path / "out" / "leaderboard.csv").exists()


def test_an_exit_in_a_constructor_is_one_sentence(mpqbench, tmp_path, tiny_folder):
    method = "{base: rtn, name: bad, rounding: early}"
    code, text, records = run_methods(mpqbench, tmp_path, tiny_folder, [method], QUITS)
    assert (code, records) == (2, {})
    assert "rounding 'early': a plugin called sys.exit(3)" in text


@pytest.mark.parametrize("verb", [["run", "smoke"], ["list", "rounding"]], ids=["run", "list"])
def test_a_file_that_exits_is_one_sentence(mpqbench, tmp_path, verb):
    path = write_plugins(tmp_path / "exits.py", "sys.exit(0)")
    code, out, err = mpqbench(*verb, "--plugins", path)
    assert code == 2
    assert "exits.py: a plugin called sys.exit(0)" in err
    assert "Traceback" not in out + err


def test_check_names_an_exit():
    from mpqbench.baselines.roundings.nearest import Nearest

    class Quits(Nearest):
        def round(self, *_given):
            raise SystemExit(0)

    with pytest.raises(AssertionError, match="SystemExit"):
        checks("rounding", Quits())[0]()
