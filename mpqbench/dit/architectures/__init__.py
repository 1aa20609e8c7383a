"""The families of transformers that the harness knows, one file for each."""

from typing import Any

from ...core.errors import BenchError, shown
from ...core.registry import Registry
from ..architecture import Architecture
from .dit import DiT
from .flux import Flux
from .mmdit import MMDiT
from .pixart import PixArt
from .sana import Sana

_HERE = "mpqbench.dit.architectures"

PLUGINS = {
    "architecture": {
        "dit": f"{_HERE}.dit:DiT",
        "flux": f"{_HERE}.flux:Flux",
        "mmdit": f"{_HERE}.mmdit:MMDiT",
        "pixart": f"{_HERE}.pixart:PixArt",
        "sana": f"{_HERE}.sana:Sana",
    },
}
ARCHITECTURES: list[Architecture] = [DiT(), MMDiT(), Flux(), PixArt(), Sana()]


def use_architectures(registry: Registry) -> bool:
    """Add the architectures of ``registry`` to those that are known; return whether any is new.

    Raises BenchError for a plugin that is no architecture, and for a class of diffusers or a
    pipeline that another architecture has.
    """
    before = len(ARCHITECTURES)
    for entry in registry.entries("architecture"):
        cls = entry.load()
        if any(_place(type(known)) == _place(cls) for known in ARCHITECTURES):
            continue  # a file that is read again makes new classes
        where = f"architecture '{entry.name}' of {entry.origin}"
        if not (isinstance(cls, type) and issubclass(cls, Architecture)):
            raise BenchError(f"{where}: {shown(cls)} is no class with the base class Architecture")
        _add(cls, where)
    return len(ARCHITECTURES) > before


def _place(cls: Any) -> tuple[str, str]:
    return getattr(cls, "__module__", ""), getattr(cls, "__qualname__", "")


def _add(cls: type[Architecture], where: str) -> None:
    alike = ("layers",) if cls.blocks is Architecture.blocks else ()
    for name in ("classes", "pipelines", "schedulers", "config", *alike):
        if not hasattr(cls, name):
            raise BenchError(f"{where} lacks the attribute {name}")
    try:
        added = cls()
    except TypeError as error:  # an abstract method is missing
        raise BenchError(f"{where}: {error}") from None
    taken = {known.classes[0] for known in ARCHITECTURES}
    taken |= {pipeline for known in ARCHITECTURES for pipeline in known.pipelines}
    for name in (cls.classes[0], *cls.pipelines):
        if name in taken:
            raise BenchError(f"{where}: {name} belongs to another architecture")
    ARCHITECTURES.append(added)


def architecture_of(transformer: Any) -> Architecture:
    """Return the architecture of a transformer. Raises BenchError for an unknown class."""
    by_class = {known.classes[0]: known for known in ARCHITECTURES}
    for cls in type(transformer).__mro__:  # the class itself before those it is derived from
        if cls.__name__ in by_class:
            return by_class[cls.__name__]
    raise _unknown(type(transformer).__name__)


def architecture_named(name: str) -> Architecture:
    """Return the architecture of a class of diffusers. Raises BenchError for an unknown one."""
    for architecture in ARCHITECTURES:
        if name == architecture.classes[0]:
            return architecture
    raise _unknown(name)


def architecture_of_pipeline(name: object) -> Architecture | None:
    """Return the architecture of a class of pipelines, ``None`` for one that is not supported."""
    return next((known for known in ARCHITECTURES if name in known.pipelines), None)


def _unknown(name: str) -> BenchError:
    known = ", ".join(each.classes[0] for each in ARCHITECTURES)
    return BenchError(f"layer groups of a {name} are not known: diffusers' {known} are supported")
