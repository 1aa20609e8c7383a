"""What a plugin can be told: its parameters, and whether given values are of their types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .errors import BenchError

_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "int": ("a whole number", (int,)),
    "float": ("a number", (int, float)),
    "bool": ("true or false", (bool,)),
    "str": ("a text", (str,)),
    "None": ("null", (type(None),)),
}


def parameters(cls: Any) -> dict[str, Any]:
    """Parameters of a plugin class and their defaults (``...`` where there is none)."""
    return {f.name: ... if f.default is dataclasses.MISSING else f.default for f in _fields(cls)}


def check_types(cls: Any, values: Mapping[str, Any]) -> None:
    """Raises BenchError for the first of ``values`` that is not of its parameter's type.

    Only plain types and their unions are checked, such as ``int | None``; of anything else the
    plugin itself must say what is wrong with it. A truth value is no number.
    """
    for field in _fields(cls):
        hint = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
        names = hint.split(" | ")
        if field.name not in values or not set(names) <= _TYPES.keys():
            continue
        value = values[field.name]
        if not any(_is(value, _TYPES[name][1]) for name in names):
            wanted = " or ".join(_TYPES[name][0] for name in names)
            raise BenchError(f"{field.name} must be {wanted}, not {value!r}{_hint(value, names)}")


def _is(value: object, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _hint(value: object, names: list[str]) -> str:
    if not isinstance(value, str) or "float" not in names:
        return ""
    try:
        number = float(value)
    except ValueError:
        return ""
    # YAML 1.1 takes 1e-3 for a text, as it has no point.
    return f" (in YAML a number of this form needs a point: {number})"


def _fields(cls: Any) -> list[dataclasses.Field[Any]]:
    if not dataclasses.is_dataclass(cls):
        raise BenchError(f"plugin {getattr(cls, '__name__', cls)} must be a dataclass")
    return [field for field in dataclasses.fields(cls) if field.init]
