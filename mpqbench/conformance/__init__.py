"""What every plugin promises, as checks that its own tests can run.

    import pytest
    from mpqbench.conformance import checks

    @pytest.mark.parametrize("check", checks("rounding", MyRounding()), ids=str)
    def test_conformance(check):
        check()

The same checks are behind ``mpqbench check NAME``. A rounding may state three class attributes:
``error_bound`` (default 1.05), how many times nearest rounding's squared error its own may be on
ordinary layers; ``idempotent`` (default True); and, as a transform, a searcher or a tuner may,
``slow`` (default False), which has it checked on few cases.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import unknown
from ..core.recipe import SLOTS
from .check import Check

KINDS = SLOTS


def checks(kind: str, plugin: Any, *, quick: bool | None = None) -> list[Check]:
    """The checks of a plugin of one of ``KINDS``; each is called without arguments and raises
    AssertionError with one sentence.

    ``quick`` runs them on few cases; left ``None``, it is what the plugin states in ``slow``. Each
    layer is still met once, and so is each format and bit width, and each budget. Raises BenchError
    for another kind.
    """
    if kind not in KINDS:
        raise unknown("kind of plugin to check", kind, KINDS)
    few = plugin.slow if quick is None else quick
    if kind == "transform":
        from .transforms import TransformChecks

        return TransformChecks(plugin, few).all()
    if kind == "rounding":
        from .roundings import RoundingChecks

        return RoundingChecks(plugin, few).all()
    if kind == "branch":
        from .branches import BranchChecks

        return BranchChecks(plugin, few).all()
    if kind == "searcher":
        from .searchers import SearcherChecks

        return SearcherChecks(plugin, few).all()
    if kind == "objective":
        from .objectives import ObjectiveChecks

        return ObjectiveChecks(plugin).all()
    if kind == "tuner":
        from .tuners import TunerChecks

        return TunerChecks(plugin, few).all()
    if kind == "correction":
        from .corrections import CorrectionChecks

        return CorrectionChecks(plugin).all()
    from .environments import EnvironmentChecks

    return EnvironmentChecks(plugin).all()


__all__ = ["KINDS", "Check", "checks"]
