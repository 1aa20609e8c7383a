"""The cells of a factorial and their recipes; cells that mean the same share one."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import BenchError
from ...core.recipe import SLOTS, TEXTS, Recipe
from ...core.registry import Registry
from ...core.settings import validate
from ...records.columns import ABLATION
from .design import Factors, Levels, fields_of

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
        levels = [list(each) for each in self.factors.values()]
        return {tuple(map(list.index, levels, cell.levels)): cell for cell in self.cells}


def factorial(
    method: Recipe, factors: Factors, registry: Registry, *, full: bool = True
) -> FactorialPlan:
    """Plan all combinations of levels, or the base with one factor changed at a time.

    One at a time, the base comes first. Raises BenchError for factors that change the same field
    and for recipes that are not valid.
    """
    for (other, theirs), (name, levels) in itertools.combinations(factors.items(), 2):
        if shared := sorted(fields_of(levels) & fields_of(theirs)):
            raise BenchError(
                f"factors '{other}' and '{name}' both set '{shared[0]}': make one factor of them"
            )
    for name in factors.keys() & {column.name for column in ABLATION}:
        raise BenchError(f"a factor cannot be called '{name}': tables have that column")
    base = {name: _own_level(method, levels, registry) for name, levels in factors.items()}
    combinations = list(itertools.product(*factors.values()))
    if not full:
        own = tuple(base.values())
        moved = {
            c: [axis for axis in range(len(own)) if c[axis] != own[axis]] for c in combinations
        }
        combinations = sorted((c for c in combinations if len(moved[c]) < 2), key=moved.__getitem__)
    cells, first = [], dict[str, Recipe]()
    for names in combinations:
        chosen = zip(factors.values(), names, strict=True)
        changes = {key: value for levels, at in chosen for key, value in levels[at].items()}
        name = ".".join((method.name, *names))
        recipe = changed(method, name, changes)
        recipe = first.setdefault(content_of(recipe, registry), recipe)
        cells.append(AblationCell(name, names, recipe))
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


def _own_level(method: Recipe, levels: Levels, registry: Registry) -> str:
    content = content_of(method, registry)
    recipes = {name: changed(method, method.name, changes) for name, changes in levels.items()}
    same = (name for name, recipe in recipes.items() if content_of(recipe, registry) == content)
    return next(same, next(iter(levels)))
