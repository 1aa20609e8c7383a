"""The families of transformers that the harness knows, one file for each."""

from typing import Any

from ...core.errors import BenchError
from ..architecture import Architecture
from .dit import DiT
from .flux import Flux
from .mmdit import MMDiT
from .pixart import PixArt
from .sana import Sana

ARCHITECTURES: tuple[Architecture, ...] = (DiT(), MMDiT(), Flux(), PixArt(), Sana())


def architecture_of(transformer: Any) -> Architecture:
    """Return the architecture of a transformer. Raises BenchError for an unknown class."""
    for architecture in ARCHITECTURES:
        if isinstance(transformer, architecture.transformer_class()):
            return architecture
    raise _unknown(type(transformer).__name__)


def architecture_named(name: str) -> Architecture:
    """Return the architecture of a class of diffusers. Raises BenchError for an unknown one."""
    for architecture in ARCHITECTURES:
        if name in architecture.classes:
            return architecture
    raise _unknown(name)


def _unknown(name: str) -> BenchError:
    known = ", ".join(each.classes[0] for each in ARCHITECTURES)
    return BenchError(f"layer groups of a {name} are not known: diffusers' {known} are supported")
