"""The cells of a factorial and their recipes; cells that mean the same share one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import BenchError
from ...core.recipe import SLOTS, TEXTS, Recipe
from ...core.registry import Registry
from ...core.settings import validate
from ...records.columns import ABLATION
from .factors import Factor, check_apart

SCORING = ("objective", "environment", "evaluations", "early_drop")


@dataclass(frozen=True)
class AblationCell:
    """One combination of levels, in the order of the factors.

    ``recipe`` has the name of the cell, or of the first cell with the same content, which is run
    for both. ``protocol`` holds the fields of the protocol that the cell changes.
    """

    name: str
    levels: tuple[str, ...]
    recipe: Recipe
    protocol: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FactorialPlan:
    """Cells over the levels of ``factors``: all combinations, or one factor at a time.

    ``base`` names the level of each factor that others are compared with: the one that leaves the
    method as it is, or the first where none does.
    """

    method: Recipe
    factors: tuple[Factor, ...]
    base: Mapping[str, str]
    cells: tuple[AblationCell, ...]
    full: bool = True

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """Names of the levels of every factor."""
        return {f.name: tuple(level.name for level in f.levels) for f in self.factors}

    @property
    def places(self) -> dict[tuple[int, ...], AblationCell]:
        """Every cell by the numbers of its levels."""
        names = self.levels.values()
        return {
            tuple(own.index(level) for own, level in zip(names, cell.levels, strict=True)): cell
            for cell in self.cells
        }


def factorial(
    method: Recipe, factors: Sequence[Factor], registry: Registry, *, full: bool = True
) -> FactorialPlan:
    """Plan all combinations of levels, or the base with one factor changed at a time.

    Raises BenchError for factors that change the same field and for recipes that are not valid.
    """
    check_apart(factors)
    for factor in factors:
        if factor.name in {column.name for column in ABLATION}:
            raise BenchError(f"a factor cannot be called '{factor.name}': tables have that column")
    base = [_own_level(method, factor, registry) for factor in factors]
    cells, first = [], dict[str, Recipe]()
    for places in _places([len(factor.levels) for factor in factors], base, full):
        levels = [factor.levels[at] for factor, at in zip(factors, places, strict=True)]
        changes = {key: value for level in levels for key, value in level.changes.items()}
        own = tuple(level.name for level in levels)
        name = ".".join((method.name, *own))
        recipe = changed(method, name, changes)
        recipe = first.setdefault(content_of(recipe, registry), recipe)
        cells.append(AblationCell(name, own, recipe))
    names = {f.name: f.levels[at].name for f, at in zip(factors, base, strict=True)}
    return FactorialPlan(method, tuple(factors), names, tuple(cells), full)


def recipes_of(cells: Sequence[AblationCell]) -> list[Recipe]:
    """Return every recipe once, in the order of the cells."""
    return list({cell.recipe.name: cell.recipe for cell in cells}.values())


def content_of(recipe: Recipe, registry: Registry) -> str:
    """Return one text for recipes that mean the same, parameters left to defaults included.

    The scoring of a searcher that asks for no score is ignored. Raises BenchError for plugins and
    parameters that are not known.
    """
    data = recipe.model_dump(exclude=set(TEXTS))
    for slot in SLOTS:
        choice = getattr(recipe, slot)
        registry.create(slot, choice)
        data[slot] = (choice.name, sorted(registry.parameters(slot, choice).items()))
    if not registry.entry("searcher", recipe.searcher.name).load().scored:
        data = {field: value for field, value in data.items() if field not in SCORING}
    return repr(data)


def changed(method: Recipe, name: str, changes: Mapping[str, Any]) -> Recipe:
    """Return ``method`` under another name, with other fields. Raises BenchError."""
    data = method.model_dump() | dict(changes) | {"name": name}
    return validate(Recipe, data, f"cell '{name}'")


def _places(counts: Sequence[int], base: Sequence[int], full: bool) -> list[tuple[int, ...]]:
    """Return the level numbers of every cell; the base is first if one factor changes at a time."""
    every = list(itertools.product(*map(range, counts)))
    if full:
        return every
    moved = [[axis for axis, at in enumerate(own) if at != base[axis]] for own in every]
    order = sorted((axes, own) for axes, own in zip(moved, every, strict=True) if len(axes) < 2)
    return [own for _, own in order]


def _own_level(method: Recipe, factor: Factor, registry: Registry) -> int:
    own = content_of(method, registry)
    for at, level in enumerate(factor.levels):
        if content_of(changed(method, method.name, level.changes), registry) == own:
            return at
    return 0
