"""Layer groups: the sets of linear layers of a transformer that share one precision."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import BenchError
from ..core.precision import Allocation, Precision
from .architectures import architecture_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Group:
    """Layers that share one precision.

    ``name`` is like ``blocks.3.attn.qkv``, ``kind`` like ``attn.qkv``; ``layers`` are module paths;
    ``tokens`` is the number of rows that each layer multiplies in one forward of one image.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    searchable: bool
    tokens: int

    @property
    def block(self) -> int:
        """Number of the group's transformer block."""
        return int(self.name.split(".")[1])


def layer_groups(transformer: nn.Module) -> list[Group]:
    """Return the groups of a transformer in network order.

    The model needs no weights (the meta device is enough). Raises BenchError for a class without an
    architecture and for a model whose linear layers were replaced.
    """
    architecture = architecture_of(transformer)
    groups = [
        Group(
            name=f"blocks.{number}.{kind}",
            kind=kind,
            layers=tuple(f"{block.path}.{path}" for path in paths),
            searchable=kind not in architecture.fixed_kinds,
            tokens=block.rows.get(kind, architecture.rows(transformer, kind)),
        )
        for number, block in enumerate(architecture.blocks(transformer))
        for kind, paths in block.layers.items()
    ]
    for group in groups:
        for layer in group.layers:
            linear_layer(transformer, layer)
    return groups


def linear_layer(transformer: nn.Module, path: str) -> nn.Linear:
    """Return the ``nn.Linear`` at ``path``. Raises BenchError for any other module."""
    from torch import nn

    try:
        module = transformer.get_submodule(path)
    except AttributeError:
        raise BenchError(f"the transformer has no layer {path}") from None
    if not isinstance(module, nn.Linear):
        raise BenchError(
            f"layer {path} is a {type(module).__name__}, not an nn.Linear: "
            "put the original layers back first"
        )
    return module


def uniform_allocation(
    groups: Iterable[Group], precision: Precision, fixed: Precision
) -> Allocation:
    """Allocate ``precision`` to the searchable groups and ``fixed`` to the others (adaLN)."""
    return Allocation({g.name: precision if g.searchable else fixed for g in groups})


def check_allocation(names: Sequence[str], allocation: Mapping[str, Precision]) -> None:
    """Raise BenchError unless ``allocation`` covers exactly the groups called ``names``."""
    given, known = list(allocation), set(names)
    strange = [name for name in given if name not in known]
    absent = [name for name in names if name not in allocation]
    for odd, sentence, valid in (
        (strange, "names group {}, which the model lacks", names),
        (absent, "lacks group {}", given),
    ):
        if odd:
            more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
            near = difflib.get_close_matches(odd[0], valid, n=1, cutoff=0.0)
            hint = f"; nearest name: '{near[0]}'" if near else ""
            raise BenchError(f"the allocation {sentence.format(repr(odd[0]) + more)}{hint}")
