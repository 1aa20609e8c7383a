"""The decorator of all plugins, and the common part of their base classes."""

import functools
from typing import Any, ClassVar, TypeVar, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass

from ..core.errors import BenchError
from ..core.settings import first_mistake

_Class = TypeVar("_Class", bound=type)
_STRICT = pydantic.ConfigDict(
    strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
)


class Plugin:
    """Base of every kind.

    A plugin with ``slow`` has its conformance checked on few cases. ``packages`` are modules that
    the plugin imports and that mpqbench does not require: a run without them is not begun.
    """

    kind: ClassVar[str]
    slow: bool = False
    packages: ClassVar[tuple[str, ...]] = ()


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
            raise BenchError(first_mistake(error)) from None

    made.__init__ = constructor  # type: ignore[method-assign]
    return made  # type: ignore[return-value]
