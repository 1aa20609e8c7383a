"""How an engine runs, what its stages cost, and how many inputs fit in one piece."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F

from ..core.precision import FULL, Precision
from ..cost.count import group_macs
from ..dit.architectures import architecture_of
from ..dit.chain import Layer
from ..dit.groups import Group, linear_layer
from ..dit.loading import skeleton
from ..quant.attention import QuantizedAttention
from .groups import SearchableGroup

CPU_PIECE, DEVICE_PIECE = 4 * 2**20, 2**30  # bytes: see the table in benchmarks/README.md

# A group, how many inputs a batch has, and the number of the batch, to a layer outside candidates.
Outside = Callable[[SearchableGroup, int, int], Layer]


def clean(group: SearchableGroup, inputs: int, batch: int) -> Layer:
    """Return the layers in full precision."""
    return group.full


@dataclass(frozen=True)
class EngineSettings:
    """How an engine runs; ``batch`` inputs go through at a time, ``outside`` is the environment."""

    adaln: Precision = FULL
    attention_bits: int | None = None
    outside: Outside = clean
    batch: int = 32
    device: str = "cpu"


def attention(transformer: Any, bits: int | None) -> Any:
    """Return the attention products of a chain, with operands at ``bits`` where given.

    Raises BenchError for ``bits`` of linear attention.
    """
    if bits is None:
        return F.scaled_dot_product_attention
    architecture_of(transformer).quantized_attention(transformer)
    return QuantizedAttention(bits)


def piece_rows(transformer: Any, groups: Sequence[Group], device: str) -> int:
    """Return how many inputs go through the environment at a time.

    The widest outputs of their layers take 4 MiB on a CPU, about what its caches hold, and 1 GiB
    elsewhere.
    """
    each = 1
    for group in groups:
        layers = [linear_layer(transformer, path) for path in group.layers]
        sizes = [layer.out_features * layer.weight.element_size() for layer in layers]
        each = max(each, group.tokens * max(sizes))
    piece = CPU_PIECE if device.partition(":")[0] == "cpu" else DEVICE_PIECE
    return max(1, piece // each)


def stage_work(transformer: Any, groups: Sequence[Group]) -> np.ndarray:
    """Return the MACs of every stage, attention products with q, k and v: (stages,)."""
    on_meta = transformer.device.type == "meta"
    bare = transformer if on_meta else skeleton(transformer)
    work = dict(group_macs(bare, groups))
    stage_of = {path: group.name for group in groups for path in group.layers}
    for attention in architecture_of(transformer).attention(transformer):
        work[stage_of[f"{attention.path}.to_q"]] += sum(attention.macs.values())
    return np.array(list(work.values()), dtype=float)
