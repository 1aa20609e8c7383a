"""Settings: frozen data, validated once where they enter, with one sentence for a mistake."""

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from .errors import BenchError, unknown

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
_BOUNDS = {"greater": "at least", "less": "at most"}
# What pydantic adds to the place of a mistake: the member of a union, the name of a validator.
_NO_KEY = re.compile(r"(constrained-)?(int|float|str|bool|none)|.*\[.*")


class Frozen(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest_of(content: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def validate(cls: type[_Model], data: Any, where: str) -> _Model:
    """Return ``data`` as ``cls``. Raises BenchError with the first mistake in one sentence."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        mistake: object = first_mistake(error)
        if first["type"] == "extra_forbidden":
            *path, key = first["loc"]
            mistake = unknown("key", str(key), _fields_at(cls, path))
        raise BenchError(f"{where}: {mistake}") from None


def first_mistake(error: ValidationError) -> str:
    """Return one sentence on the first mistake; of a union, what each member wants."""
    first, place = error.errors()[0], _place(error.errors()[0])
    if first["type"] == "unexpected_keyword_argument":
        return f"unknown parameter {place}"
    if first["type"] == "missing":
        return f"{place} is missing"
    if not first["msg"].startswith("Input should be "):
        message = first["msg"].removeprefix("Value error, ")
        return f"{place}: {message}" if place else message
    wanted = dict.fromkeys(_wanted(each) for each in error.errors() if _place(each) == place)
    hint = ""
    with suppress(ValueError):  # YAML 1.1 reads 1e-3 as a text
        if first["type"] == "float_type" and isinstance(first["input"], str):
            hint = f" (in YAML a number such as this needs a point: {float(first['input'])})"
    return f"{place or 'the value'} must be {' or '.join(wanted)}, not {first['input']!r}{hint}"


def _place(error: ErrorDetails) -> str:
    """Return the key that is wrong, such as ``protocol.steps`` or ``skip[1]``."""
    parts = [part for part in error["loc"] if not _NO_KEY.fullmatch(str(part))]
    steps = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts]
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


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raises BenchError where it is missing or malformed."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchError(f"{path} does not exist: give a YAML file or a built-in suite") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())  # with the line and the column
        raise BenchError(f"{path} is not readable YAML: {reason}") from None
