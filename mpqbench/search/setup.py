"""Making an engine: targets of full precision, adaLN at its policy, groups and an environment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..core.precision import FULL, Precision
from ..cost.count import group_macs
from ..dit.calibration import CalibrationSet
from ..dit.chain import STAGES, Chain, Layer
from ..dit.groups import Group, token_count
from ..dit.loading import skeleton
from ..quant.attention import QuantizedAttention
from ..quant.build import GroupQuantizer
from .engine import Batch, Engine, FixedGroups, Workload
from .groups import SearchableGroup, searchable_groups

CPU_PIECE, DEVICE_PIECE = 4 * 2**20, 2**30  # bytes: see the table in benchmarks/README.md

# A group, how many inputs a batch has, and the number of the batch, to a layer outside candidates.
Outside = Callable[[SearchableGroup, int, int], Layer]


def clean(group: SearchableGroup, inputs: int, batch: int) -> Layer:
    """Return the layers in full precision."""
    return group.full


@dataclass(frozen=True)
class EngineSettings:
    """How an engine runs: ``batch`` inputs at a time, and ``rows`` behind the candidates.

    Left out, ``rows`` is what keeps the widest activations at 4 MiB on a CPU, about what its caches
    hold, and at 1 GiB elsewhere; never less than a batch. Candidates and the environment have adaLN
    at ``adaln`` and attention at ``attention_bits``, as the quantized model will.
    """

    adaln: Precision = FULL
    attention_bits: int | None = None
    outside: Outside = clean
    batch: int = 32
    rows: int | None = None
    device: str = "cpu"


def build_engine(
    transformer: Any,
    groups: Sequence[Group],
    quantizer: GroupQuantizer,
    calibration: CalibrationSet,
    settings: EngineSettings | None = None,
) -> Engine:
    """Build an engine on ``calibration``.

    ``transformer`` is in full precision and stays so: its outputs are the targets. Raises as
    ``GroupQuantizer.quantize``.
    """
    settings = settings or EngineSettings()
    chain = Chain(transformer, _attention(settings.attention_bits))
    searchable = searchable_groups(transformer, groups, quantizer)
    fixed = FixedGroups(transformer, groups, settings.adaln, quantizer)
    batches = _batches(chain, list(searchable.values()), calibration, fixed, settings)
    rows = _rows(transformer, settings.device) if settings.rows is None else settings.rows
    workload = Workload(_work(transformer, groups), rows)
    engine = Engine(chain, searchable, batches, workload, fixed)
    engine.errors([{}])  # the environment alone comes first: it may measure itself on what it sees
    return engine


def _attention(bits: int | None) -> Any:
    if bits is None:
        return F.scaled_dot_product_attention
    quantized = QuantizedAttention(bits)
    return lambda q, k, v: quantized.attend(q.float(), k.float(), v.float())


def _batches(
    chain: Chain,
    searchable: Sequence[SearchableGroup],
    calibration: CalibrationSet,
    fixed: FixedGroups,
    settings: EngineSettings,
) -> list[Batch]:
    transformer, device = chain.transformer, settings.device
    dtype = next(transformer.parameters()).dtype
    parts = [
        (latents.to(device, dtype), times.to(device), classes.to(device))
        for latents, times, classes in calibration.batches(settings.batch)
    ]
    with torch.no_grad():  # not in inference mode: objectives take gradients through these
        targets = [transformer(*part).sample for part in parts]
    found = []
    with fixed.quantized(), torch.no_grad():
        for number, (part, target) in enumerate(zip(parts, targets, strict=True)):
            fixed.quantizer.clock.set(part[1])
            conditions = chain.conditions(*part[1:])
            environment = [settings.outside(group, len(target), number) for group in searchable]
            found.append(Batch(*part, conditions, target, environment))
    return found


def _rows(transformer: Any, device: str) -> int:
    """Return how many inputs of one piece have the widest activations: those inside the MLP."""
    first = transformer.transformer_blocks[0].ff.net[0].proj
    each = token_count(transformer) * first.out_features * first.weight.element_size()
    piece = CPU_PIECE if device.partition(":")[0] == "cpu" else DEVICE_PIECE
    return max(1, piece // each)


def _work(transformer: Any, groups: Sequence[Group]) -> np.ndarray:
    """Return the MACs of every stage, attention products with q, k and v: (stages,)."""
    macs = list(group_macs(skeleton(transformer.config), groups).values())
    tokens = token_count(transformer)
    width = transformer.transformer_blocks[0].attn1.to_out[0].in_features
    work = np.array(macs, dtype=float)
    work[:: len(STAGES)] += 2 * tokens * tokens * width
    return work
