"""Rounding a whole transformer block at once: what a ``Rounding`` is given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from ..contracts import BlockData, QuantizedWeight, Rounding
from ..core.errors import BenchError
from ..core.formats import WeightFormat
from ..dit.blocks import run_block
from ..dit.groups import linear_layer
from .attention import QuantizedAttention
from .build import Prepared
from .ranges import Clock


@dataclass(frozen=True)
class BlockInputs:
    """Calibration inputs of a block: hidden (n, tokens, width) float32, times, classes (n,)."""

    hidden: torch.Tensor
    times: torch.Tensor
    classes: torch.Tensor


def round_together(
    rounding: Rounding,
    model: nn.Module,
    prefix: str,
    layers: Sequence[Prepared],
    inputs: BlockInputs,
    fmt: WeightFormat,
    clock: Clock,
    attention: QuantizedAttention | None,
) -> Mapping[str, QuantizedWeight]:
    """Integers of the block at ``prefix``, whose quantized ``layers`` are given.

    Raises BenchError where the rounding leaves a layer out or names a strange one.
    """
    original = model.get_submodule(prefix)
    weighted = {layer.path: layer for layer in layers if layer.precision.weight is not None}
    if not weighted:
        return {}
    data = BlockData(
        name=prefix,
        weights={path: layer.weight for path, layer in weighted.items()},
        layers={path: layer.data for path, layer in weighted.items()},
        bits={path: layer.precision.weight or 0 for path, layer in weighted.items()},
        targets=_outputs(original, inputs),
        forward=_forward(original, prefix, layers, inputs, clock, attention),
        seed=next(iter(weighted.values())).data.seed,
    )
    rounded = rounding.round_block(data, fmt)
    if rounded.keys() != weighted.keys():
        odd = min(rounded.keys() ^ weighted.keys())
        raise BenchError(f"block {prefix}: the rounding must give exactly its layers; see {odd}")
    return rounded


def _outputs(block: nn.Module, inputs: BlockInputs, size: int = 32) -> torch.Tensor:
    """What the full-precision block gives, float32."""
    dtype = next(block.parameters()).dtype
    parts = (part.split(size) for part in (inputs.hidden.to(dtype), inputs.times, inputs.classes))
    with torch.no_grad():
        return torch.cat([run_block(block, *batch).float() for batch in zip(*parts, strict=True)])


def _forward(
    original: nn.Module,
    prefix: str,
    layers: Sequence[Prepared],
    inputs: BlockInputs,
    clock: Clock,
    attention: QuantizedAttention | None,
) -> Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]:
    """A copy of the block in float32 with quantized layers, as a function of their weights."""
    block: Any = copy.deepcopy(original).float().requires_grad_(False)
    for layer in layers:
        path = layer.path.removeprefix(f"{prefix}.")
        block.set_submodule(path, layer.layer(layer.weight, linear_layer(block, path)))
    if attention is not None:
        block.attn1.processor = attention

    def forward(weights: Mapping[str, torch.Tensor], indices: torch.Tensor) -> torch.Tensor:
        own = {f"{path.removeprefix(f'{prefix}.')}.weight": w for path, w in weights.items()}
        times = inputs.times[indices]
        clock.set(times)
        x = inputs.hidden[indices]
        rest = {"timestep": times, "class_labels": inputs.classes[indices]}
        return functional_call(block, own, (x,), rest)

    return forward
