"""Values that a shell completes: names of methods, suites, models, plugins; usual budgets.

Each is imported when it is asked for. Files given with ``--plugins`` are not imported.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..core.protocol import PROTOCOLS
from ..core.recipe import SLOTS

Complete = Callable[[Any, Any, str], list[str]]
USUAL_BUDGETS = ("W8A8", "W6A6", "W4A8", "W4A4", "W3A3", "W2A4")
KINDS = (*SLOTS, "method", "architecture")


def _of(names: Callable[[], Iterable[str]]) -> Complete:
    return lambda ctx, param, begun: sorted(name for name in names() if name.startswith(begun))


def _plugins(kinds: Iterable[str]) -> set[str]:
    from ..core.registry import discover

    registry = discover()
    return {entry.name for kind in kinds for entry in registry.entries(kind)}


def _suites() -> Iterable[str]:
    from ..lab.suites import built_in_suites

    return built_in_suites()


def _models() -> Iterable[str]:
    from ..dit.zoo import MODELS

    return MODELS


methods = _of(lambda: _plugins(["method"]))
plugins = _of(lambda: _plugins(SLOTS))
suites = _of(_suites)
models = _of(_models)
protocols = _of(lambda: PROTOCOLS)
budgets = _of(lambda: USUAL_BUDGETS)
slots = _of(lambda: SLOTS)
listed = _of(lambda: (*KINDS, "suite", "protocol", "model"))
written = _of(lambda: (*SLOTS, "method", "package"))
explained = _of(lambda: {*_plugins(KINDS), *_suites(), *_models(), *PROTOCOLS})
