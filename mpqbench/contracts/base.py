"""The decorator of all plugins, and the common part of their base classes."""

from __future__ import annotations

import functools
from typing import Any, ClassVar, TypeVar, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from ..core.errors import BenchError

_Class = TypeVar("_Class", bound=type)
_STRICT = pydantic.ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


class Plugin:
    """Base of every kind. A plugin with ``slow`` has its conformance checked on few cases."""

    kind: ClassVar[str]
    slow: bool = False


@dataclass_transform(frozen_default=True)
def plugin(cls: _Class) -> _Class:
    """Make ``cls`` a frozen dataclass whose parameters are checked against their annotations.

    Pydantic checks the parameters strictly: a text is not a number, and a truth value is not a
    whole number. Write bounds into the annotation, as in ``rank: PositiveInt`` or ``unit:
    Literal["layer", "block"]``. A list, as YAML gives it, becomes a tuple. The constructor raises
    BenchError with one sentence that names the first wrong parameter.
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
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "none_required": "null",
}
_WORDS = {"greater than or equal to": "at least", "less than or equal to": "at most"}


def _sentence(error: pydantic.ValidationError) -> str:
    """Return one sentence on the first wrong parameter; of a union, what each member wants."""
    errors = error.errors()
    first = errors[0]
    name, at = str(first["loc"][0]), [f"[{n}]" for n in first["loc"][1:] if isinstance(n, int)]
    if first["type"] == "value_error":  # raised by a validator of the plugin's own
        return f"{name}: {first['msg'].removeprefix('Value error, ')}"
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown parameter {name}"
    if first["type"] == "missing":
        return f"{name} is missing"
    wanted = dict.fromkeys(_wanted(each) for each in errors if each["loc"][0] == name)
    hint = _hint(first["type"], first["input"])
    return f"{name}{''.join(at)} must be {' or '.join(wanted)}, not {first['input']!r}{hint}"


def _wanted(error: ErrorDetails) -> str:
    text = _WANTED.get(error["type"], error["msg"].removeprefix("Input should be "))
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text


def _hint(kind: str, value: object) -> str:
    """Point to a number that YAML 1.1 reads as a text, such as 1e-3."""
    if kind != "float_type" or not isinstance(value, str):
        return ""
    try:
        return f" (in YAML a number such as this needs a point: {float(value)})"
    except ValueError:
        return ""
