"""Every registered plugin keeps the promises that a stranger's must keep.

With default parameters on all cases; iterative ones, and those that a method changes, on few.
"""

from __future__ import annotations

import pytest

from mpqbench.conformance import KINDS, checks
from mpqbench.core.recipe import SLOTS, PluginChoice
from mpqbench.core.registry import discover, parameters

# Promises do not wait for convergence.
FEW = {"iterations": 10, "proposals": 4, "trials": 60, "draws": 100}


def _cases():
    registry = discover()
    assert not registry.broken
    for kind in KINDS:
        for entry in registry.entries(kind):
            known = parameters(entry.load())
            if ... in known.values():
                continue  # 'given' is nothing without its allocation
            for params in _variants(registry, kind, entry.name):
                few = {name: value for name, value in FEW.items() if name in known}
                plugin = registry.create(kind, PluginChoice(name=entry.name, params=few | params))
                label = "-".join([kind, entry.name, *(f"{k}={v}" for k, v in params.items())])
                for check in checks(kind, plugin, quick=True if few or params else None):
                    yield pytest.param(check, id=f"{label}-{check}")


def _variants(registry, kind, name):
    """Parameters: the defaults, and what each registered method gives the plugin."""
    found = [{}]
    for method in registry.entries("method"):
        choice = getattr(method.load(), kind)
        if choice.name == name and choice.params not in found:
            found.append(choice.params)
    return found


@pytest.mark.parametrize("check", list(_cases()))
def test_a_built_in_conforms(check):
    check()


def test_there_are_checks_for_every_kind_of_plugin():
    assert KINDS == SLOTS


def test_built_ins_are_frozen():
    for kind in KINDS:
        for entry in discover().entries(kind):
            assert entry.load().__dataclass_params__.frozen, entry.name
