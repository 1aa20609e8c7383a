"""Checks of what every plugin must do, for ``mpqbench check`` and for a plugin's own tests.

import pytest
from mpqbench.conformance import checks

@pytest.mark.parametrize("check", checks("rounding", MyRounding()), ids=str)
def test_conformance(check):
    check()
"""

from importlib import import_module
from typing import Any

from ..core.errors import unknown
from ..core.recipe import SLOTS as KINDS
from .check import Check

__all__ = ["KINDS", "Check", "checks"]


def checks(kind: str, plugin: Any, *, quick: bool | None = None) -> list[Check]:
    """Return the checks of a plugin of one of ``KINDS``.

    Each check is called without arguments and raises AssertionError with one sentence. ``quick``
    runs the checks on few cases, which still have each layer, format, bit width and budget; without
    a value, the plugin's own ``slow`` decides. Raises BenchError for another kind.
    """
    if kind not in KINDS:
        raise unknown("kind of plugin to check", kind, KINDS)
    few = plugin.slow if quick is None else quick
    return import_module(f".{kind}", __name__).checks(plugin, few)
