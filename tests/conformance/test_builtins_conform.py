"""Every registered plugin passes the checks, with its defaults and as each method sets it up.

Plugins that iterate are checked on few cases with few iterations.
"""

import pytest

from mpqbench.conformance import KINDS, checks
from mpqbench.core.errors import BenchError
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover, parameters

FEW = {"iterations": 10, "proposals": 4, "trials": 60, "draws": 100}
REGISTRY = discover()


def plugins():
    """(kind, plugin, whether its checks are to be quick) of all kinds."""
    methods = [entry.load() for entry in REGISTRY.entries("method")]
    for kind in KINDS:
        for entry in REGISTRY.entries(kind):
            known = parameters(entry.load())
            if ... in known.values():
                continue  # 'given' needs its allocation
            used = [getattr(method, kind) for method in methods]
            variants = [{}, *(choice.params for choice in used if choice.name == entry.name)]
            few = {name: value for name, value in FEW.items() if name in known}
            for params in {repr(each): each for each in variants}.values():
                choice = PluginChoice(name=entry.name, params=params | few)
                quick = True if few or params else None
                name = "-".join([kind, entry.name, *(f"{k}={v}" for k, v in params.items())])
                yield pytest.param(kind, REGISTRY.create(kind, choice), quick, id=name)


@pytest.mark.parametrize(("kind", "own", "quick"), list(plugins()))
def test_a_built_in_conforms(kind, own, quick):
    for check in checks(kind, own, quick=quick):
        check()


def test_only_kinds_that_can_be_checked():
    with pytest.raises(BenchError, match="unknown kind of plugin to check 'roundng'; did you mean"):
        checks("roundng", object())
