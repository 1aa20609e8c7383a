"""Plans of sweeps: recipes that differ in one number, a line for each level of a factor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import BenchError, unknown
from ...core.protocol import Protocol
from ...core.recipe import SLOTS, Recipe
from ...core.registry import Registry, parameters
from ...records.ablation import SWEEP_COLUMNS
from .design import FIELDS, Factors, fields_of
from .plan import AblationCell, changed, content_of


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
    cells, without, refused = [], [], []
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
    inside = ["params", *tail] if head in SLOTS else tail
    change = {head: _with(base.model_dump()[head], inside, value)}
    cell = AblationCell(name, levels, changed(base, name, change))
    content_of(cell.recipe, registry)  # raises for a value that its plugin refuses
    return cell


def _number(text: str, path: str) -> int | float:
    try:
        value = float(text)
        return int(value) if value == int(value) else value  # 1e3 is a whole number
    except (ValueError, OverflowError):
        reason = f"--sweep {path}: '{text}' is no number; for names use --factor"
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
