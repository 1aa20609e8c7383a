"""The families of transformers that the harness knows, one file for each."""

from typing import Any

from ...core.errors import BenchError
from ..architecture import Architecture
from .dit import DiT

ARCHITECTURES: tuple[Architecture, ...] = (DiT(),)


def architecture_of(transformer: Any) -> Architecture:
    """Return the architecture of a transformer. Raises BenchError for an unknown class."""
    for architecture in ARCHITECTURES:
        if isinstance(transformer, architecture.transformer_class()):
            return architecture
    known = ", ".join(each.classes[0] for each in ARCHITECTURES)
    raise BenchError(
        f"layer groups of a {type(transformer).__name__} are not known: "
        f"diffusers' {known} is supported"
    )
