"""Plans: which recipes an ablation runs, and which cells share one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import BenchError, unknown
from ..recipe import SLOTS, TEXTS, Protocol, Recipe, validate
from ..registry import Registry, parameters
from ..report.ablation import TAKEN
from .factors import FIELDS, Factor, check_apart

SCORING = ("objective", "environment", "evaluations", "early_drop")


@dataclass(frozen=True)
class Cell:
    """One combination of levels, in the order of the factors.

    ``recipe`` is called as the cell is, or as the first cell with the same content, which is run
    for both. ``protocol`` holds fields of the protocol that the cell changes.
    """

    name: str
    levels: tuple[str, ...]
    recipe: Recipe
    protocol: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Cells over the levels of ``factors``: all combinations, or one factor at a time.

    ``base`` names the level of each factor that others are compared with: the one that leaves the
    method as it is, or the first where none does.
    """

    method: Recipe
    factors: tuple[Factor, ...]
    base: Mapping[str, str]
    cells: tuple[Cell, ...]
    full: bool = True

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """Names of the levels of every factor."""
        return {f.name: tuple(level.name for level in f.levels) for f in self.factors}


@dataclass(frozen=True)
class Sweep:
    """Cells that differ in the number at ``path``, such as ``searcher.keep``, by that number."""

    method: Recipe
    path: str
    cells: Mapping[float, Cell]


def factorial(
    method: Recipe, factors: Sequence[Factor], registry: Registry, *, full: bool = True
) -> Plan:
    """All combinations of levels, or the base with one factor changed at a time.

    Raises BenchError for factors that get in each other's way and for recipes that are none.
    """
    check_apart(factors)
    for factor in factors:
        if factor.name in TAKEN:
            raise BenchError(f"a factor cannot be called '{factor.name}': tables have that column")
    base = [_own_level(method, factor, registry) for factor in factors]
    cells = []
    for places in _places([len(factor.levels) for factor in factors], base, full):
        levels = [factor.levels[at] for factor, at in zip(factors, places, strict=True)]
        changes = {key: value for level in levels for key, value in level.changes.items()}
        own = tuple(level.name for level in levels)
        name = ".".join((method.name, *own))
        cells.append(Cell(name, own, _changed(method, name, changes)))
    names = {f.name: f.levels[at].name for f, at in zip(factors, base, strict=True)}
    return Plan(method, tuple(factors), names, tuple(_shared(cells, registry)), full)


def sweep(text: str, method: Recipe, registry: Registry) -> Sweep:
    """``PATH=v1,v2,...`` for a number of a plugin (``searcher.keep``), of another field of the
    recipe (``evaluations``) or of the protocol (``protocol.calibration``). Raises BenchError.
    """
    path, equals, rest = text.partition("=")
    if not equals:
        raise BenchError(f"--sweep '{text}' is not SLOT.PARAMETER=V1,V2,...")
    values = [_number(part, path) for part in rest.split(",")]
    if len(set(values)) < max(2, len(values)):
        raise BenchError(f"--sweep {path} needs two values at least, and none of them twice")
    head, *tail = path.split(".")
    _check_path(head, tail, method, registry)
    cells = {}
    for value in values:
        name = f"{method.name}.{(tail or [head])[-1]}-{value}"
        if head == "protocol":
            cell = Cell(name, (str(value),), _changed(method, name, {}), {tail[0]: value})
        else:
            change = {head: _with(method.model_dump()[head], _inside(head, tail), value)}
            cell = Cell(name, (str(value),), _changed(method, name, change))
            _content(cell.recipe, registry)  # raises where the value is none for its plugin
        cells[float(value)] = cell
    return Sweep(method, path, cells)


def recipes_of(cells: Sequence[Cell]) -> list[Recipe]:
    """Every recipe once, in the order of the cells."""
    return list({cell.recipe.name: cell.recipe for cell in cells}.values())


def _places(counts: Sequence[int], base: Sequence[int], full: bool) -> Iterator[tuple[int, ...]]:
    """Level numbers of every cell, the base first where one factor is changed at a time."""
    if full:
        yield from itertools.product(*map(range, counts))
        return
    yield tuple(base)
    for axis, count in enumerate(counts):
        for at in range(count):
            if at != base[axis]:
                yield (*base[:axis], at, *base[axis + 1 :])


def _own_level(method: Recipe, factor: Factor, registry: Registry) -> int:
    own = _content(method, registry)
    for at, level in enumerate(factor.levels):
        if _content(_changed(method, method.name, level.changes), registry) == own:
            return at
    return 0


def _shared(cells: Sequence[Cell], registry: Registry) -> Iterator[Cell]:
    first: dict[str, Recipe] = {}
    for cell in cells:
        content = _content(cell.recipe, registry)
        yield replace(cell, recipe=first.setdefault(content, cell.recipe))


def _content(recipe: Recipe, registry: Registry) -> str:
    """The same text for recipes that mean the same, parameters left to defaults included.

    How a searcher that asks for no score would get one means nothing.
    Raises BenchError for plugins and parameters that are none.
    """
    data = recipe.model_dump(exclude=set(TEXTS))
    for slot in SLOTS:
        choice = getattr(recipe, slot)
        registry.create(slot, choice)
        known = parameters(registry.entry(slot, choice.name).load())
        data[slot] = (choice.name, sorted((known | choice.params).items()))
    if not getattr(registry.entry("searcher", recipe.searcher.name).load(), "scored", True):
        data = {field: value for field, value in data.items() if field not in SCORING}
    return repr(data)


def _changed(method: Recipe, name: str, changes: Mapping[str, Any]) -> Recipe:
    data = method.model_dump() | dict(changes) | {"name": name}
    return validate(Recipe, data, f"cell '{name}'")


def _number(text: str, path: str) -> int | float:
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if abs(value) < float("inf"):
            return value
    raise BenchError(f"--sweep {path}: '{text}' is no number; for names use --factor")


def _check_path(head: str, tail: Sequence[str], method: Recipe, registry: Registry) -> None:
    if head == "protocol":
        numbers = [n for n, f in Protocol.model_fields.items() if f.annotation in (int, float)]
        if ".".join(tail) not in numbers:
            raise unknown("number of the protocol", ".".join(tail), numbers)
    elif head not in FIELDS:
        raise unknown("slot or field of the recipe", head, (*FIELDS, "protocol"))
    elif head in SLOTS:
        choice = getattr(method, head)
        valid = parameters(registry.entry(head, choice.name).load())
        if ".".join(tail) not in valid:
            raise unknown(f"parameter of {head} '{choice.name}'", ".".join(tail), valid)


def _inside(head: str, tail: Sequence[str]) -> list[str]:
    return ["params", *tail] if head in SLOTS else list(tail)


def _with(tree: Any, path: Sequence[str], value: Any) -> Any:
    """``tree`` with ``value`` at ``path``; unknown keys are left for the recipe to refuse."""
    if not path:
        return value
    inner = tree if isinstance(tree, Mapping) else {}
    return {**inner, path[0]: _with(inner.get(path[0]), path[1:], value)}
