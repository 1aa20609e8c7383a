"""The decorator of all plugins, and the common part of their base classes."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, TypeVar, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass

from ..core.errors import BenchError

_Class = TypeVar("_Class", bound=type)
_STRICT = pydantic.ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


class Plugin:
    """Base of every kind.

    ``slow`` is for the conformance checks alone: of a slow plugin they try few cases.
    """

    kind: ClassVar[str]
    slow: bool = False


@dataclass_transform(frozen_default=True)
def plugin(cls: _Class) -> _Class:
    """Make ``cls`` a frozen dataclass whose parameters are checked against their annotations.

    Pydantic checks them, strictly: a text is no number and a truth value no whole number. Bounds
    are written into the annotation, as in ``rank: PositiveInt`` or ``unit: Literal["layer",
    "block"]``. A list, as YAML gives it, is taken for a tuple.
    The constructor raises BenchError with one sentence that names the first wrong parameter.
    """
    made = dataclass(frozen=True, config=_STRICT)(cls)
    build = made.__init__

    @functools.wraps(build)
    def constructor(self: Any, *values: Any, **named: Any) -> None:
        try:
            lists = {key: tuple(v) if isinstance(v, list) else v for key, v in named.items()}
            build(self, *values, **lists)
        except pydantic.ValidationError as error:
            raise BenchError(_sentence(error)) from None

    made.__init__ = constructor  # type: ignore[method-assign]
    return made  # type: ignore[return-value]


_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "none_required": "null",
    "tuple_type": "a list",
    "dict_type": "a mapping",
}


def _sentence(error: pydantic.ValidationError) -> str:
    """The first mistake in one sentence."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":  # raised by a validator of the plugin's own
        return f"{name}: {first['msg'].removeprefix('Value error, ')}"
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown parameter {name}"
    if first["type"] == "missing":
        return f"{name} is missing"
    if first["type"] in ("too_short", "too_long"):
        fewest, most = (first["ctx"].get(bound) for bound in ("min_length", "max_length"))
        bound = f"least {fewest}" if most is None else f"most {most}"
        return f"{name} must have at {bound} item(s)"
    wanted = _WANTED.get(first["type"], first["msg"].removeprefix("Input should be "))
    return f"{name} must be {wanted}, not {first['input']!r}{_hint(first['type'], first['input'])}"


def _hint(kind: str, value: object) -> str:
    """Point to a number that YAML 1.1 reads as a text, such as 1e-3."""
    if kind != "float_type" or not isinstance(value, str):
        return ""
    try:
        return f" (in YAML a number of this form needs a point: {float(value)})"
    except ValueError:
        return ""
