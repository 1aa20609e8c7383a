"""Settings: frozen data, validated once where they enter, with one sentence for a mistake."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import BenchError, unknown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_Model = TypeVar("_Model", bound=BaseModel)
# pydantic's names of types, and what a user calls them.
_WANTED = {
    "a valid tuple": "a list",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "a valid dictionary or instance of PluginChoice": "a name or {name: ..., parameter: ...}",
    "a valid dictionary": "a mapping",
}


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
        path = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
        place = ".".join(str(part) for part in path)
        if first["type"] == "extra_forbidden":
            mistake = unknown("key", str(path[-1]), _fields_at(cls, path[:-1]))
            raise BenchError(f"{where}: {mistake}") from None
        raise BenchError(f"{where}: {_mistake(place, first)}") from None


def _mistake(place: str, error: ErrorDetails) -> str:
    """Return one sentence on the key ``place``: what it must be and what it is."""
    if error["type"] == "missing":
        return f"key '{place}' is missing"
    message = error["msg"].removeprefix("Value error, ")
    if message.startswith("Input should be "):
        wanted = re.sub(", (unable to parse|got a number).*", "", message)
        wanted = wanted.removeprefix("Input should be ")
        for theirs, ours in _WANTED.items():
            wanted = wanted.replace(theirs, ours)
        return f"{place} must be {wanted}, not {error['input']!r}"
    return f"{place + ': ' if place else ''}{message}"


def _fields_at(cls: type[BaseModel], path: list[Any]) -> list[str]:
    """Return the keys of the (nested) model that ``path`` leads to."""
    for part in path:
        field = cls.model_fields.get(part) if isinstance(part, str) else None
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            cls = annotation
    return [field.alias or name for name, field in cls.model_fields.items()]


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raises BenchError where it is missing or malformed."""
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BenchError(f"{path} does not exist: give a YAML file or a built-in suite") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise BenchError(f"{path} is not readable YAML: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return what a parser found, with line and column where it tells them."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
