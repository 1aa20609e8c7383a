"""Rounding a whole transformer block at once: what a ``Rounding`` is given."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from ..contracts import BlockData, QuantizedWeight, Rounding
from ..core.errors import BenchError
from ..cost.storage import QParamBytes
from ..dit.architectures import architecture_of
from ..dit.blocks import BlockCall, run_block
from ..dit.groups import linear_layer
from .activation import Clock
from .attention import QuantizedAttention
from .branch import lent
from .group import PreparedGroup, PreparedLayer, QuantizedGroup, RoundedLayer


@dataclass(frozen=True)
class BlockInputs:
    """What a block is called with on all calibration inputs, and the times (n,) of the inputs."""

    call: BlockCall
    times: torch.Tensor

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True)
class BlockRun:
    """The block at ``prefix`` of a model in full precision, its prepared groups and its inputs."""

    model: nn.Module
    prefix: str
    groups: Sequence[PreparedGroup]
    inputs: BlockInputs
    attention: QuantizedAttention | None = None

    def round(self, rounding: Rounding, clock: Clock) -> Mapping[str, QuantizedWeight]:
        """Return the integers of all layers whose weight is quantized, by path.

        Raises BenchError as ``GroupQuantizer.quantize_block``.
        """
        quantized = (g.layers for g in self.groups if g.precision.weight is not None)
        layers = {path: layer for each in quantized for path, layer in each.items()}
        if not layers:
            return {}
        formats = {layer.data.weight_format for layer in layers.values()}
        if len(formats) > 1:
            raise BenchError(
                f"block {self.prefix}: a rounding of whole blocks takes one weight format, so give "
                "all its layers, adaLN too, one group size"
            )
        data = BlockData(
            name=self.prefix,
            weights={path: layer.weight.clone() for path, layer in layers.items()},
            layers={path: lent(layer.data) for path, layer in layers.items()},
            bits={path: layer.data.precision.weight_bits for path, layer in layers.items()},
            targets=self._targets(),
            forward=self._forward(clock),
            seed=next(iter(layers.values())).data.seed,
        )
        rounded = rounding.round_block(data, formats.pop())
        if rounded.keys() != layers.keys():
            odd = min(rounded.keys() ^ layers.keys())
            raise BenchError(
                f"block {self.prefix}: the rounding must give exactly its layers; see {odd}"
            )
        return rounded

    def _targets(self, size: int = 32) -> torch.Tensor:
        """Return what the full-precision block gives, float32, ``size`` inputs at a time."""
        block: Any = self.model.get_submodule(self.prefix)
        call = self.inputs.call.map(_typed(next(block.parameters()).dtype))
        with torch.no_grad():
            parts = [
                self._joined(call.map(itemgetter(slice(at, at + size))), block)
                for at in range(0, len(self.inputs), size)
            ]
        return torch.cat([part.float() for part in parts])

    def _joined(self, call: BlockCall, run: Callable[..., Any]) -> torch.Tensor:
        """Return what a block hands on, (n, tokens, width), all streams one after another."""
        return torch.cat(list(run_block(self.model, call, run).values()), dim=1)

    def _forward(
        self, clock: Clock
    ) -> Callable[[Mapping[str, torch.Tensor], torch.Tensor], torch.Tensor]:
        """Return a float32 copy of the block, quantized, as a function of its weights."""
        block: Any = copy.deepcopy(self.model.get_submodule(self.prefix))
        block.float().requires_grad_(False)
        for group in self.groups:  # with weights not yet rounded
            copies: dict[str, PreparedLayer] = {
                path: replace(layer, original=linear_layer(block, self._inside(path)))
                for path, layer in group.layers.items()
            }
            values = {
                path: RoundedLayer(layer.owned(layer.weight), QParamBytes())
                for path, layer in copies.items()
            }
            quantized = QuantizedGroup(replace(group, layers=copies), values)
            for path, module in quantized.layers.items():
                block.set_submodule(self._inside(path), module)
        if self.attention is not None:
            for products in architecture_of(self.model).quantized_attention(self.model):
                if products.path.startswith(f"{self.prefix}."):
                    module = block.get_submodule(self._inside(products.path))
                    module.forward = self.attention.of(module)
        call = self.inputs.call.map(_typed(torch.float32))

        def forward(weights: Mapping[str, torch.Tensor], indices: torch.Tensor) -> torch.Tensor:
            named = {f"{self._inside(path)}.weight": weight for path, weight in weights.items()}
            clock.set(self.inputs.times[indices])

            def run(**arguments: Any) -> Any:
                return functional_call(block, named, (), arguments)

            return self._joined(call.map(itemgetter(indices)), run)

        return forward

    def _inside(self, path: str) -> str:
        """Return ``path`` as seen from the block."""
        return path.removeprefix(f"{self.prefix}.")


def _typed(dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that converts floating-point tensors to ``dtype``."""
    return lambda x: x.to(dtype) if x.is_floating_point() else x
