"""Plans of sweeps: recipes that differ in one number, a line for each level of a factor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import BenchError, unknown
from ...core.protocol import Protocol
from ...core.recipe import SLOTS, Recipe
from ...core.registry import Registry, parameters
from ...records.ablation import SWEEP_COLUMNS
from .factors import FIELDS, Factors, fields_of
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
        rows = []
        for cell in self.cells:
            level, value = cell.levels
            row = {self.factor: level} if self.factor else {}
            row |= dict(zip(SWEEP_COLUMNS, (self.path, value), strict=True))
            rows.append(row | {"method": cell.recipe.name})
        return rows


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
        try:
            found = _first(paths, recipe, registry)
        except BenchError as error:
            if first.partition(".")[0] not in fields_of(levels):
                raise
            refused.append(error)
            without.append(AblationCell(name, (level, ""), recipe))
        else:
            cells += [_cell(found, value, recipe, level, registry) for value in values]
    if not cells:
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
    """Return the cell of ``base`` with ``value`` at ``path``."""
    head, *tail = path.split(".")
    name, levels = f"{base.name}.{(tail or [head])[-1]}-{value}", (level, str(value))
    if head == "protocol":
        return AblationCell(name, levels, changed(base, name, {}), {tail[0]: value})
    inside = ["params", *tail] if head in SLOTS else tail
    change = {head: _with(base.model_dump()[head], inside, value)}
    cell = AblationCell(name, levels, changed(base, name, change))
    content_of(cell.recipe, registry)  # raises for a value that its plugin refuses
    return cell


def _first(paths: Sequence[str], method: Recipe, registry: Registry) -> str:
    """Return the first of ``paths`` that is a number of ``method``. Raises BenchError."""
    refused = []
    for path in paths:
        try:
            _check_path(path, method, registry)
            return path
        except BenchError as error:
            refused.append(error)
    raise refused[0]


def _number(text: str, path: str) -> int | float:
    try:
        value = float(text)
        return int(value) if value == int(value) else value  # 1e3 is a whole number
    except (ValueError, OverflowError):
        reason = f"--sweep {path}: '{text}' is no number; for names use --factor"
        raise BenchError(reason) from None


def _check_path(path: str, method: Recipe, registry: Registry) -> None:
    head, _, tail = path.partition(".")
    if head == "protocol":
        numbers = [n for n, f in Protocol.model_fields.items() if f.annotation in (int, float)]
        if tail not in numbers:
            raise unknown("number of the protocol", tail, numbers)
    elif head not in FIELDS:
        raise unknown("slot or field of the recipe", head, (*FIELDS, "protocol"))
    elif head in SLOTS:
        choice = getattr(method, head)
        valid = parameters(registry.entry(head, choice.name).load())
        if tail not in valid:
            raise unknown(f"parameter of {head} '{choice.name}'", tail, valid)


def _with(tree: Any, path: Sequence[str], value: Any) -> Any:
    """Return ``tree`` with ``value`` at ``path``; the recipe refuses unknown keys."""
    if not path:
        return value
    inner = tree if isinstance(tree, Mapping) else {}
    return {**inner, path[0]: _with(inner.get(path[0]), path[1:], value)}
