"""The cells of a factorial and their recipes; cells that mean the same share one."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import BenchError
from ...core.recipe import SLOTS, TEXTS, Recipe
from ...core.registry import Registry
from ...core.settings import validate
from ...records.columns import ABLATION
from .factors import Factors, Levels, check_apart

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
    factors: Factors
    base: Mapping[str, str]
    cells: tuple[AblationCell, ...]
    full: bool = True

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """Names of the levels of every factor."""
        return {name: tuple(levels) for name, levels in self.factors.items()}

    @property
    def places(self) -> dict[tuple[int, ...], AblationCell]:
        """Every cell by the numbers of its levels."""
        numbers = [{level: at for at, level in enumerate(each)} for each in self.factors.values()]
        return {
            tuple(at[level] for at, level in zip(numbers, cell.levels, strict=True)): cell
            for cell in self.cells
        }


def factorial(
    method: Recipe, factors: Factors, registry: Registry, *, full: bool = True
) -> FactorialPlan:
    """Plan all combinations of levels, or the base with one factor changed at a time.

    One at a time, the base comes first. Raises BenchError for factors that change the same field
    and for recipes that are not valid.
    """
    check_apart(factors)
    for name in factors.keys() & {column.name for column in ABLATION}:
        raise BenchError(f"a factor cannot be called '{name}': tables have that column")
    base = {name: _own_level(method, levels, registry) for name, levels in factors.items()}
    combinations = list(itertools.product(*factors.values()))
    if not full:
        places = {names: _changed_factors(names, base.values()) for names in combinations}
        combinations = [names for names in combinations if len(places[names]) < 2]
        combinations.sort(key=places.__getitem__)
    cells, first = [], dict[str, Recipe]()
    for names in combinations:
        chosen = zip(factors.values(), names, strict=True)
        changes = {key: value for levels, at in chosen for key, value in levels[at].items()}
        name = ".".join((method.name, *names))
        recipe = changed(method, name, changes)
        cells.append(
            AblationCell(name, names, first.setdefault(content_of(recipe, registry), recipe))
        )
    return FactorialPlan(method, factors, base, tuple(cells), full)


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


def _changed_factors(names: Sequence[str], base: Iterable[str]) -> list[int]:
    pairs = zip(names, base, strict=True)
    return [axis for axis, (name, own) in enumerate(pairs) if name != own]


def _own_level(method: Recipe, levels: Levels, registry: Registry) -> str:
    content = content_of(method, registry)
    for name, changes in levels.items():
        if content_of(changed(method, method.name, changes), registry) == content:
            return name
    return next(iter(levels))
