"""Making an engine: full precision's outputs, adaLN at its policy, the cells and an environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..contracts import LayerData, QuantizedWeight, Rounding
from ..core.formats import WeightFormat
from ..core.precision import FULL, Allocation, Precision
from ..cost.count import group_macs, token_count
from ..dit.calibration import CalibrationSet
from ..dit.chain import STAGES, Chain, Layer
from ..dit.groups import Group
from ..dit.loading import skeleton
from ..quant.apply import quantize_model
from ..quant.attention import QuantizedAttention
from ..quant.build import GroupQuantizer
from .cells import Cell, cells_of
from .engine import Batch, Distance, Engine

CPU_PIECE, DEVICE_PIECE = 4 * 2**20, 2**30  # bytes: see the table in benchmarks/README.md

# A group, how many inputs a batch has, and the number of the batch, to a layer outside candidates.
Outside = Callable[[Cell, int, int], Layer]


def clean(cell: Cell, inputs: int, batch: int) -> Layer:
    """Full precision."""
    return cell.full


def build_engine(
    transformer: Any,
    groups: Sequence[Group],
    build: GroupQuantizer,
    calibration: CalibrationSet,
    *,
    adaln: Precision = FULL,
    attention_bits: int | None = None,
    outside: Outside = clean,
    batch: int = 32,
    rows: int | None = None,
    distance: Distance | None = None,
    device: str = "cpu",
) -> Engine:
    """An engine on ``calibration``, ``batch`` inputs at a time, ``rows`` behind the candidates.

    Left out, ``rows`` is what keeps the widest activations at 4 MiB on a CPU, about what its caches
    hold, and at 1 GiB elsewhere; never less than a batch.
    ``transformer`` is in full precision and stays so: its outputs are the targets. Candidates and
    the environment have adaLN at ``adaln`` and attention at ``attention_bits``, as the quantized
    model will. Raises as ``quantize_model`` does.
    """
    cells = cells_of(transformer, groups, build)
    chain = Chain(transformer, _attention(attention_bits))
    settings = (chain, build, adaln, list(cells.values()), outside)
    batches = _batches(transformer, groups, calibration, settings, batch, device)
    rows = _rows(transformer, device) if rows is None else rows
    clock = build.clock if build.clock.count > 1 else None
    engine = Engine(chain, cells, batches, _work(transformer, groups), rows, distance, clock)
    engine.errors([{}])  # the environment alone comes first: it may measure itself on what it sees
    return engine


def _attention(bits: int | None) -> Any:
    if bits is None:
        return F.scaled_dot_product_attention
    quantized = QuantizedAttention(bits)
    return lambda q, k, v: quantized.attend(q.float(), k.float(), v.float())


def _batches(
    transformer: Any,
    groups: Sequence[Group],
    calibration: CalibrationSet,
    settings: tuple[Chain, GroupQuantizer, Precision, list[Cell], Outside],
    size: int,
    device: str,
) -> list[Batch]:
    chain, build, adaln, cells, outside = settings
    dtype = next(transformer.parameters()).dtype
    parts = [
        (latents.to(device, dtype), times.to(device), classes.to(device))
        for latents, times, classes in calibration.batches(size)
    ]
    with torch.no_grad():  # not in inference mode: objectives take gradients through these
        targets = [transformer(*part).sample for part in parts]
    policy = Allocation({g.name: FULL if g.searchable else adaln for g in groups})
    quantized = quantize_model(
        transformer,
        groups,
        policy,
        transform=build.transform,
        rounding=_LayerByLayer(build.rounding),
        weight_format=build.weight_format,
        activation_format=build.activation_format,
        layer_data=build.layer_data,
        static_ranges=build.static_ranges,
    )
    with quantized, torch.no_grad():
        return [
            Batch(
                *part,
                chain.conditions(*part[1:]),
                target,
                [outside(cell, len(target), number) for cell in cells],
            )
            for number, (part, target) in enumerate(zip(parts, targets, strict=True))
        ]


class _LayerByLayer(Rounding):
    """A rounding of blocks, asked for single layers: a block of a candidate is not complete."""

    needs_inputs = True

    def __init__(self, rounding: Rounding) -> None:
        self._rounding = rounding

    def round(
        self, weight: torch.Tensor, layer: LayerData, fmt: WeightFormat, bits: int
    ) -> QuantizedWeight:
        """As the rounding itself."""
        return self._rounding.round(weight, layer, fmt, bits)


def _rows(transformer: Any, device: str) -> int:
    """How many inputs have widest activations, those between the MLP's layers, of one piece."""
    first = transformer.transformer_blocks[0].ff.net[0].proj
    each = token_count(transformer) * first.out_features * first.weight.element_size()
    piece = CPU_PIECE if device.partition(":")[0] == "cpu" else DEVICE_PIECE
    return max(1, piece // each)


def _work(transformer: Any, groups: Sequence[Group]) -> np.ndarray:
    """MACs of every stage, attention products with the queries, keys and values: (stages,)."""
    macs = list(group_macs(skeleton(transformer.config), groups).values())
    tokens = token_count(transformer)
    width = transformer.transformer_blocks[0].attn1.to_out[0].in_features
    work = np.array(macs, dtype=float)
    work[:: len(STAGES)] += 2 * tokens * tokens * width
    return work
