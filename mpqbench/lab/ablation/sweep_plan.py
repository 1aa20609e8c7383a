"""Plans of sweeps: recipes that differ in one number, a line for each level of a factor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import BenchError, unknown
from ...core.protocol import Protocol
from ...core.recipe import SLOTS, Recipe
from ...core.registry import Registry, parameters
from ...records.ablation import SWEEP_COLUMNS
from .factors import FIELDS, Factor, Level
from .plan import AblationCell, changed, content_of


@dataclass(frozen=True)
class Sweep:
    """Cells of ``lines`` by the number at ``path`` (such as ``searcher.keep``) that is varied.

    A line is a level of ``factor``, or the method itself without a factor. ``without`` are the
    levels whose plugin has no such number: one cell each.
    """

    method: Recipe
    path: str
    factor: Factor | None
    lines: Mapping[str, Mapping[float, AblationCell]]
    without: Mapping[str, AblationCell]

    @property
    def cells(self) -> tuple[AblationCell, ...]:
        """All cells: line by line, then those without the number."""
        swept = [cell for line in self.lines.values() for cell in line.values()]
        return (*swept, *self.without.values())

    @property
    def rows(self) -> list[dict[str, str]]:
        """Every cell as a row: its factor's level, ``setting``, ``value`` and ``method``."""
        names = [*([self.factor.name] if self.factor else []), *SWEEP_COLUMNS, "method"]
        every = [(c.levels[0], self.path, c.levels[1], c.recipe.name) for c in self.cells]
        return [dict(zip(names, own[-len(names) :], strict=True)) for own in every]


def sweep(text: str, method: Recipe, registry: Registry, factor: Factor | None = None) -> Sweep:
    """Plan the sweep ``PATH=v1,v2,...``, for every level of ``factor``.

    The path names a number of a plugin (``searcher.keep``), of another field of the recipe
    (``evaluations``) or of the protocol (``protocol.calibration``); of ``branch.like_rank|rank``
    the first that a level's plugin has is taken. Raises BenchError for other texts, and if no level
    has the number.
    """
    path, equals, rest = text.partition("=")
    if not equals:
        raise BenchError(f"--sweep '{text}' is not SLOT.PARAMETER=V1,V2,...")
    values = [_number(part, path) for part in rest.split(",")]
    if len(set(values)) < max(2, len(values)):
        raise BenchError(f"--sweep {path} needs two values at least, and none of them twice")
    if factor is not None and factor.name in SWEEP_COLUMNS:
        raise BenchError(f"a factor beside a sweep cannot be called '{factor.name}'")
    first, *others = path.split("|")
    paths = [first, *(f"{first.rpartition('.')[0]}.{other}" for other in others)]
    lines: dict[str, Mapping[float, AblationCell]] = {}
    without: dict[str, AblationCell] = {}
    refused: BenchError | None = None
    for level in (Level("", {}),) if factor is None else factor.levels:
        name = ".".join(filter(None, (method.name, level.name)))
        own = changed(method, name, level.changes)
        try:
            found = _first(paths, own, registry)
        except BenchError as error:
            if factor is None or paths[0].partition(".")[0] not in factor.fields:
                raise
            refused = refused or error
            without[level.name] = AblationCell(name, (level.name, ""), own)
        else:
            lines[level.name or method.name] = _line(found, values, own, level.name, registry)
    if not lines and refused is not None:
        raise refused
    return Sweep(method, paths[0], factor, lines, without)


def sweep_cells(sweeps: Sequence[Sweep]) -> list[AblationCell]:
    """Return all cells; a level without the number that is in two sweeps is there once."""
    found: list[AblationCell] = []
    for own in sweeps:
        known = {cell.name for cell in found} & {cell.name for cell in own.without.values()}
        found += [cell for cell in own.cells if cell.name not in known]
    return found


def _line(
    path: str, values: Sequence[int | float], own: Recipe, level: str, registry: Registry
) -> dict[float, AblationCell]:
    """Return a cell of ``own`` for every value of the number at ``path``."""
    head, *tail = path.split(".")
    cells = {}
    for value in values:
        name = f"{own.name}.{(tail or [head])[-1]}-{value}"
        levels = (level, str(value))
        if head == "protocol":
            cell = AblationCell(name, levels, changed(own, name, {}), {tail[0]: value})
        else:
            inside = ["params", *tail] if head in SLOTS else tail
            change = {head: _with(own.model_dump()[head], inside, value)}
            cell = AblationCell(name, levels, changed(own, name, change))
            content_of(cell.recipe, registry)  # raises for a value that its plugin refuses
        cells[float(value)] = cell
    return cells


def _first(paths: Sequence[str], method: Recipe, registry: Registry) -> str:
    """Return the first of ``paths`` that is a number of ``method``. Raises BenchError."""
    refused: BenchError | None = None
    for path in paths:
        head, *tail = path.split(".")
        try:
            _check_path(head, tail, method, registry)
            return path
        except BenchError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _number(text: str, path: str) -> int | float:
    try:
        value = float(text)
        return int(value) if value == int(value) else value  # 1e3 is a whole number
    except (ValueError, OverflowError):
        sentence = f"--sweep {path}: '{text}' is no number; for names use --factor"
        raise BenchError(sentence) from None


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


def _with(tree: Any, path: Sequence[str], value: Any) -> Any:
    """Return ``tree`` with ``value`` at ``path``; the recipe refuses unknown keys."""
    if not path:
        return value
    inner = tree if isinstance(tree, Mapping) else {}
    return {**inner, path[0]: _with(inner.get(path[0]), path[1:], value)}
