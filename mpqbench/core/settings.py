"""Settings: frozen data, validated once where they enter, with one sentence for a mistake."""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from .errors import BenchError, shown, unknown

# Types of settings: a truth value is no number, a text is no number, and 2.0 is no whole number.
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
SEEDS = 2**63  # a seed is below, as generators of random numbers take them
Seed = Annotated[int, Field(strict=True, ge=0, lt=SEEDS)]
SAFE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MOST_NAME = 100  # characters of a name that becomes a part of file names

_Model = TypeVar("_Model", bound=BaseModel)
# The first words of pydantic's names of mistakes, or the name of a class, and what is wanted there.
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "none": "null",
    "PluginChoice": "a name or {name: ..., parameter: ...}",
}
_LENGTHS = {  # pydantic's name of the mistake, and what is right
    "too_short": ("at least {} member", "min_length"),
    "string_too_short": ("at least {} character", "min_length"),
    "string_too_long": ("at most {} characters", "max_length"),
}
_BOUNDS = {"greater": "at least", "less": "at most"}
# What pydantic adds to the place of a mistake: the member of a union, the name of a validator.
_NO_KEY = re.compile(r"(constrained-)?(int|float|str|bool|none)|.*\[.*")

_WORD = re.compile(r"[^ -~]|(?<=.{80}).")  # what a key in a message cannot show


class Frozen(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def digest_of(content: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the ``checksum`` of all else in it."""
    return {**content, "checksum": digest_of(content)}


def is_whole(content: Mapping[str, Any]) -> bool:
    """Return whether an object is as ``sealed`` gave it, or of a version without a checksum."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return content.get("checksum", digest_of(rest)) == digest_of(rest)


def validate(cls: type[_Model], data: Any, where: str) -> _Model:
    """Return ``data`` as ``cls``. Raises BenchError with the first mistake in one sentence."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        extra = next((e for e in error.errors() if e["type"] == "extra_forbidden"), None)
        mistake = first_mistake(error) if extra is None else _unknown_key(cls, extra["loc"])
        raise BenchError(f"{where}: {mistake}") from None


def first_mistake(error: ValidationError) -> str:
    """Return one sentence on the first mistake; of a union, what each member wants."""
    first, place = error.errors()[0], _place(error.errors()[0])
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown parameter {place}"
    if first["type"] == "missing":
        return f"{place} is missing"
    if first["type"] == "invalid_key":
        return f"key {shown(first['loc'][0])} must be a text: write it with quotes"
    if first["type"] == "string_pattern_mismatch":
        letters = "letters" if "A-Z" in first["ctx"]["pattern"] else "lower-case letters"
        return (
            f"{place} {shown(first['input'])} is no safe file name: use {letters}, digits and . _ "
            "- with a letter or a digit first"
        )
    if first["type"] in _LENGTHS:
        bound, number = _LENGTHS[first["type"]]
        return f"{place} must have {bound.format(first['ctx'][number])}"
    if not first["msg"].startswith("Input should be "):
        message = first["msg"].removeprefix("Value error, ")
        return f"{place}: {message}" if place else message
    wanted = dict.fromkeys(_wanted(each) for each in error.errors() if _place(each) == place)
    found = "null" if first["input"] is None else shown(first["input"])
    return f"{place or 'the value'} must be {' or '.join(wanted)}, not {found}{_hint(first)}"


def _hint(error: ErrorDetails) -> str:
    """Return what is likely meant, for mistakes that come from how YAML reads a word."""
    value = error["input"]
    is_word = isinstance(value, str | int) and not isinstance(value, bool)
    if error["type"] == "tuple_type" and is_word and re.fullmatch(r"[\w.+,-]{1,40}", str(value)):
        return f": write [{value}]"
    if error["type"] == "string_type" and isinstance(value, bool):
        return " (YAML reads yes, no, on and off as true and false: write the text with quotes)"
    if error["type"] == "string_type" and isinstance(value, int | float):
        return ": write the text with quotes"
    with suppress(ValueError):  # a number with quotes, or 010
        if error["type"] in ("int_type", "float_type") and isinstance(value, str):
            return f": write {int(value) if error['type'] == 'int_type' else float(value)}"
    return ""


def plain_data(value: Any, place: str = "") -> Any:
    """Return ``value``, which consists of what JSON can hold. Raises BenchError otherwise."""
    if isinstance(value, float) and not math.isfinite(value):
        raise BenchError(f"{place or 'the value'} must be a finite number, not {value}")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise BenchError(f"key {shown(key)} of {place} must be a text: write quotes")
            plain_data(item, f"{place}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            plain_data(item, f"{place}[{index}]")
    elif not isinstance(value, str | int | float | None):
        raise BenchError(f"{place or 'the value'} must be plain data, not {shown(value)}")
    return value


def _unknown_key(cls: type[BaseModel], loc: Iterable[Any]) -> BenchError:
    """Return the error for a key that ``cls`` lacks: the nearest one, or where the key belongs."""
    *path, key = loc
    fields = _fields_at(cls, path)
    for name in () if path else fields:
        if name not in (inside := _fields_at(cls, [name])) and key in inside:
            return BenchError(f"unknown key {shown(key)}: it belongs in '{name}'")
    return unknown("key", key, fields)


def _place(error: ErrorDetails) -> str:
    """Return the key that is wrong, such as ``protocol.steps`` or ``skip[1]``."""
    parts = [part for part in error["loc"] if not _NO_KEY.fullmatch(str(part))]
    steps = [f"[{p}]" if isinstance(p, int) else f".{_WORD.sub('?', p)}" for p in parts]
    return "".join(steps).removeprefix(".")


def _wanted(error: ErrorDetails) -> str:
    for name in (error.get("ctx", {}).get("class_name"), error["type"].partition("_")[0]):
        if name in _WANTED:
            return _WANTED[name]
    text = error["msg"].removeprefix("Input should be ")
    return re.sub(r"(greater|less) than or equal to", lambda m: _BOUNDS[m[1]], text)


def _fields_at(cls: type[BaseModel], path: list[Any]) -> list[str]:
    """Return the keys of the (nested) model that ``path`` leads to."""
    for part in path:
        annotation = cls.model_fields[part].annotation if part in cls.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            cls = annotation
    return [field.alias or name for name, field in cls.model_fields.items()]
