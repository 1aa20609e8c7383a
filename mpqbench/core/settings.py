"""Settings: frozen data, validated once where they enter, with one sentence for a mistake."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import BenchError, unknown

_Model = TypeVar("_Model", bound=BaseModel)


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
        message = first["msg"].removeprefix("Value error, ")
        raise BenchError(f"{where}: {place + ': ' if place else ''}{message}") from None


def _fields_at(cls: type[BaseModel], path: list[Any]) -> list[str]:
    """Return the keys of the (nested) model that ``path`` leads to."""
    for part in path:
        field = cls.model_fields.get(part) if isinstance(part, str) else None
        annotation = field.annotation if field else None
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            cls = annotation
    return list(cls.model_fields)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raises BenchError where it is missing or malformed."""
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BenchError(f"{path} does not exist: give a YAML file or a built-in suite") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"{path} is not readable YAML: {reason}") from None
