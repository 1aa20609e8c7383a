"""The design of an ablation: what is varied, kept beside the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from ...core.errors import BenchError
from ...core.files import write_atomic
from ...core.recipe import PluginChoice, Recipe
from ...core.registry import Registry
from ...core.settings import Frozen, read_yaml, validate
from .factors import Factor, default_factors, factors_from
from .plan import FactorialPlan, factorial
from .responses import Scale
from .sweep_plan import Sweep, sweep

FILE = "ablation.yaml"


class Design(Frozen):
    """A method and what is varied of it: ``factors`` in combination, or numbers in ``sweeps``.

    ``method`` is the recipe itself, so that a later change of that name has no effect. ``factors``
    are ``{factor: {level: {field: value}}}``; without any they are the method's own. With
    ``sweeps`` there is at most one factor, whose levels are lines; ``full`` and ``scale`` are
    ignored.
    """

    method: Recipe
    factors: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    sweeps: tuple[str, ...] = ()
    full: bool = True
    scale: Scale = "log"

    def plan(self, registry: Registry) -> FactorialPlan:
        """Return all cells of a factorial. Raises BenchError as ``factorial`` does."""
        found = self._factors() or default_factors(self.method)
        return factorial(self.method, found, registry, full=self.full)

    def swept(self, registry: Registry) -> list[Sweep]:
        """Return every sweep. Raises BenchError as ``sweep`` does, and for several factors."""
        factors = self._factors()
        if len(factors) > 1:
            raise BenchError(
                "--sweep has a line for every level of one factor: leave out the others"
            )
        return [sweep(text, self.method, registry, *factors) for text in self.sweeps]

    def save(self, folder: Path) -> Path:
        """Write ``ablation.yaml``; return its path."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        if not (self.factors or self.sweeps):
            data["factors"] = as_data(default_factors(self.method))
        path = folder / FILE
        text = yaml.safe_dump(data, sort_keys=False, width=100, allow_unicode=True)
        write_atomic(path, text.encode())
        return path

    def _factors(self) -> list[Factor]:
        return factors_from(self.factors, "factors") if self.factors else []


def load(folder: Path) -> Design | None:
    """Return the design in ``folder``, ``None`` if there is none. Raises BenchError."""
    path = folder / FILE
    return validate(Design, read_yaml(path), str(path)) if path.is_file() else None


def as_data(factors: Sequence[Factor]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return ``{factor: {level: {field: value}}}``, which ``factors_from`` reads."""

    def plain(value: Any) -> Any:
        return value.model_dump(mode="json") if isinstance(value, PluginChoice) else value

    return {
        factor.name: {
            level.name: {field: plain(value) for field, value in level.changes.items()}
            for level in factor.levels
        }
        for factor in factors
    }
