"""The cells of an ablation and their recipes.

Cells of a factorial that mean the same share one recipe. Those of a sweep differ in one number, for
every level of a factor.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import BenchError, unknown
from ...core.protocol import Protocol
from ...core.recipe import SLOTS, TEXTS, PluginChoice, Recipe, derived
from ...core.registry import Registry, parameters
from ...core.settings import validate
from ...records.ablation import SWEEP_COLUMNS
from ...records.columns import ABLATION
from .design import FIELDS, Factors, Levels, fields_of

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
        start = tuple(base.values())
        moved = {
            c: [axis for axis in range(len(start)) if c[axis] != start[axis]] for c in combinations
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
    """Return ``method`` under another name, with other fields and parameters. Raises BenchError."""
    where = f"cell '{name}'"
    whole = {key: value for key, value in changes.items() if "." not in key}
    data = whole | {"name": name, "factors": {}}
    for path in changes.keys() - whole.keys():
        head, *tail = path.split(".")
        data.setdefault(head, method.model_dump()[head])
        if head in SLOTS:
            data[head] = validate(PluginChoice, data[head], f"{where}: {head}").model_dump()
            tail = ["params", *tail]
        data[head] = _with(data[head], tail, changes[path])
    return derived(method, data, where)


def _own_level(method: Recipe, levels: Levels, registry: Registry) -> str:
    content = content_of(method, registry)
    recipes = {name: changed(method, method.name, changes) for name, changes in levels.items()}
    same = (name for name, recipe in recipes.items() if content_of(recipe, registry) == content)
    return next(same, next(iter(levels)))


@dataclass(frozen=True)
class Sweep:
    """Cells by the number at ``path`` (such as ``searcher.keep``) that is varied.

    The levels of a cell are that of the ``factor``, empty without a factor, and the number: empty
    in the one cell of a level whose plugin has no such number. Those cells come last.
    """

    path: str
    factor: str
    cells: tuple[AblationCell, ...]

    @property
    def rows(self) -> list[dict[str, str]]:
        """Every cell as a row: its factor's level, ``setting``, ``value`` and ``method``."""
        names = (self.factor, *SWEEP_COLUMNS, "method")
        parts = [(c.levels[0], self.path, c.levels[1], c.recipe.name) for c in self.cells]
        return [dict(zip(names, part, strict=True)) for part in parts]


def sweep(text: str, method: Recipe, registry: Registry, factors: Factors | None = None) -> Sweep:
    """Plan the sweep ``PATH=v1,v2,...``, for every level of one factor.

    The path names a number of a plugin (``searcher.keep``), of another field of the recipe
    (``evaluations``) or of the protocol (``protocol.calibration``); of ``branch.like_rank|rank``
    the first that a level's plugin has is taken. Raises BenchError for other texts, for several
    factors, and if no level has the number.
    """
    path, equals, rest = text.partition("=")
    if not equals:
        raise BenchError(f"--sweep '{text}' is not SLOT.PARAMETER=V1,V2,...")
    values = [_number(part, path) for part in rest.split(",")]
    if len(set(values)) < max(2, len(values)):
        raise BenchError(f"--sweep {path} needs two values at least, and none of them twice")
    factor, *others = factors or {"": {"": {}}}
    if others:
        raise BenchError("--sweep has a line for every level of one factor: leave out the others")
    if factor in SWEEP_COLUMNS:
        raise BenchError(f"a factor beside a sweep cannot be called '{factor}'")
    levels = factors[factor] if factors else {"": {}}
    first, *more = path.split("|")
    paths = [first, *(f"{first.rpartition('.')[0]}.{other}" for other in more)]
    cells, without = [], []
    refused: list[BenchError] = []
    for level, changes in levels.items():
        name = ".".join(filter(None, (method.name, level)))
        recipe = changed(method, name, changes)
        problems = {path: _problem(path, recipe, registry) for path in paths}
        if found := [path for path, problem in problems.items() if problem is None]:
            cells += [_cell(found[0], value, recipe, level, registry) for value in values]
        else:
            refused += filter(None, problems.values())
            without.append(AblationCell(name, (level, ""), recipe))
    if refused and not (cells and first.partition(".")[0] in fields_of(levels)):
        raise refused[0]
    return Sweep(first, factor, (*cells, *without))


def sweep_cells(sweeps: Sequence[Sweep]) -> list[AblationCell]:
    """Return all cells; a level without the number that is in two sweeps is there once."""
    found: list[AblationCell] = []
    for each in sweeps:
        known = {cell.name for cell in found}
        found += [cell for cell in each.cells if cell.levels[1] or cell.name not in known]
    return found


def _cell(path: str, value: float, base: Recipe, level: str, registry: Registry) -> AblationCell:
    head, *tail = path.split(".")
    name, levels = f"{base.name}.{(tail or [head])[-1]}-{value}", (level, str(value))
    if head == "protocol":
        return AblationCell(name, levels, changed(base, name, {}), {tail[0]: value})
    cell = AblationCell(name, levels, changed(base, name, {path: value}))
    content_of(cell.recipe, registry)  # raises for a value that its plugin refuses
    return cell


def _number(text: str, path: str) -> int | float:
    try:
        value = float(text)
        return int(value) if value == int(value) else value  # 1e3 is a whole number
    except (ValueError, OverflowError):
        reason = f"--sweep {path}: '{text}' is no number; for others use --factor {path}=A|B"
        raise BenchError(reason) from None


def _problem(path: str, method: Recipe, registry: Registry) -> BenchError | None:
    head, _, tail = path.partition(".")
    what, name, known = "slot or field of the recipe", head, [*FIELDS, "protocol"]
    if head == "protocol":
        what, name = "number of the protocol", tail
        known = [n for n, f in Protocol.model_fields.items() if f.annotation in (int, float)]
    elif head in SLOTS:
        choice = getattr(method, head)
        what, name = f"parameter of {head} '{choice.name}'", tail
        known = list(parameters(registry.entry(head, choice.name).load()))
    return None if name in known else unknown(what, name, known)


def _with(tree: Any, path: Sequence[str], value: Any) -> Any:
    """Return ``tree`` with ``value`` at ``path``; the recipe refuses unknown keys."""
    if not path:
        return value
    inner = tree if isinstance(tree, Mapping) else {}
    return {**inner, path[0]: _with(inner.get(path[0]), path[1:], value)}
