"""The file of a paper: its runs, what is shown of them, and its tables and figures by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..core.errors import BenchError
from ..core.files import expanded
from ..core.settings import MOST_NAME, SAFE_NAME, validate
from ..core.yaml_text import read_yaml
from .selection import Selection

_Name = Annotated[str, Field(pattern=SAFE_NAME, max_length=MOST_NAME)]
_Named = dict[_Name, dict[str, Any] | None]


class _Content(Selection):
    """The keys of the file: those of a selection, and these."""

    runs: tuple[str, ...] = ()
    tables: _Named = Field({})
    figures: _Named = Field({})


@dataclass(frozen=True)
class PaperFile:
    """What the file of a paper asks for.

    ``runs`` are folders; ``selection`` is what all tables and figures have in common; ``tables``
    and ``figures`` have the whole selection of each by name.
    """

    runs: tuple[Path, ...]
    selection: Selection
    tables: Mapping[str, Selection]
    figures: Mapping[str, Selection]


def read_paper(path: Path, options: Mapping[str, Any] | None = None) -> PaperFile:
    """Return what a YAML file asks for: keys of ``Selection``, ``runs``, ``tables``, ``figures``.

    ``runs`` are folders, relative to that of the file. ``tables`` and ``figures`` map a name to
    keys of ``Selection``, which go before those of the file; ``options`` go before both. Mappings,
    such as ``labels``, are joined; all else is replaced. Raises BenchError for a file that cannot
    be read, an unknown key and a wrong value, each with its place.
    """
    data = read_yaml(path)
    if not isinstance(data, Mapping):
        raise BenchError(
            f"{path}: the file of a paper is a mapping with runs, tables, methods, ..."
        )
    content = validate(_Content, data, str(path))
    common = {key: value for key, value in data.items() if key in Selection.model_fields}
    given = dict(options or {})

    def made(overrides: Mapping[str, Any], where: str) -> Selection:
        return validate(Selection, _joined(_joined(common, overrides), given), where)

    def named(kind: str, every: Mapping[str, dict[str, Any] | None]) -> dict[str, Selection]:
        return {n: made(keys or {}, f"{path}, {kind} '{n}'") for n, keys in every.items()}

    runs = tuple(path.parent / expanded(folder) for folder in content.runs)
    return PaperFile(
        runs, made({}, str(path)), named("table", content.tables), named("figure", content.figures)
    )


def _joined(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``first`` with the values of ``then``; mappings in both are joined."""
    both = {key: value for key, value in then.items() if isinstance(value, Mapping)}
    joined = {key: {**(first.get(key) or {}), **value} for key, value in both.items()}
    return {**first, **then, **joined}
