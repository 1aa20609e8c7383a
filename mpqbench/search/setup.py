"""How an engine runs, what its stages cost, and how many inputs fit in one piece."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F

from ..core.precision import FULL, Precision
from ..cost.count import group_macs
from ..dit.chain import STAGES, Layer
from ..dit.groups import Group, token_count
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


def attention(bits: int | None) -> Any:
    """Return the attention products of a chain, with operands at ``bits`` where given."""
    if bits is None:
        return F.scaled_dot_product_attention
    quantized = QuantizedAttention(bits)
    return lambda q, k, v: quantized.attend(q.float(), k.float(), v.float())


def piece_rows(transformer: Any, device: str) -> int:
    """Return how many inputs go through the environment at a time.

    Their widest activations, inside the MLP, take 4 MiB on a CPU, about what its caches hold, and
    1 GiB elsewhere.
    """
    first = transformer.transformer_blocks[0].ff.net[0].proj
    each = token_count(transformer) * first.out_features * first.weight.element_size()
    piece = CPU_PIECE if device.partition(":")[0] == "cpu" else DEVICE_PIECE
    return max(1, piece // each)


def stage_work(transformer: Any, groups: Sequence[Group]) -> np.ndarray:
    """Return the MACs of every stage, attention products with q, k and v: (stages,)."""
    on_meta = transformer.device.type == "meta"
    bare = transformer if on_meta else skeleton(transformer.config)
    macs = list(group_macs(bare, groups).values())
    tokens = token_count(transformer)
    width = transformer.transformer_blocks[0].attn1.to_out[0].in_features
    work = np.array(macs, dtype=float)
    work[:: len(STAGES)] += 2 * tokens * tokens * width
    return work
