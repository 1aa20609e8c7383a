"""Putting an allocation into a model, and taking it out again without a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..core.errors import BenchError
from ..core.precision import Precision
from ..cost.count import Operator
from ..cost.storage import GridBytes
from ..dit.groups import Group, check_allocation
from .attention import QuantizedAttention
from .block import BlockInputs, BlockRun
from .build import GroupQuantizer
from .group import QuantizedGroup
from .ranges import TRAINED_STEPS as TRAINED_STEPS
from .ranges import Clock


class QuantizedModel:
    """A transformer with quantized layers in place of its own, until ``remove``.

    ``layers`` are the slices of ``groups`` by path, ``rounded`` the integers of those whose weight
    is quantized, on the CPU; ``storage`` is what their quantization parameters take in bytes and
    ``operators`` what transforms and branches cost, both as ``cost.count`` takes them. Leaving the
    ``with`` block removes. Move or cast the transformer before quantizing: the originals that wait
    outside the model do not move along. With a ``clock`` of several time groups, every forward
    tells the clock its time steps.
    """

    def __init__(
        self,
        transformer: Any,
        groups: Sequence[QuantizedGroup],
        attention: QuantizedAttention | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.transformer = transformer
        costs = [group.cost() for group in groups]
        self.layers = {path: own for group in groups for path, own in group.layers.items()}
        self.rounded = {path: own for group in groups for path, own in group.integers.items()}
        self.storage: dict[str, GridBytes] = {}
        for cost in costs:
            self.storage |= cost.storage
        self.operators: tuple[Operator, ...] = sum((cost.operators for cost in costs), ())
        self._attention, self._clock = attention, clock
        self._undo: list[Callable[[], None]] = []
        self._install()

    def _install(self) -> None:
        try:
            for path, module in self.layers.items():
                self._swap(path, module)
            if self._attention is not None:
                for block in self.transformer.transformer_blocks:
                    self._attend(block.attn1, self._attention)
            if self._clock is not None and self._clock.count > 1:
                hook = _tell_time(self._clock)
                handle = self.transformer.register_forward_pre_hook(hook, with_kwargs=True)
                self._undo.append(handle.remove)
        except BaseException:
            self.remove()
            raise

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Have the transformer in full precision while inside, as it was before."""
        self.remove()
        try:
            yield
        finally:
            self._install()

    def remove(self) -> None:
        """Put the very same original modules back; a second call does nothing."""
        while self._undo:
            self._undo.pop()()

    def _swap(self, path: str, module: nn.Module) -> None:
        original = self.transformer.get_submodule(path)
        self.transformer.set_submodule(path, module)
        self._undo.append(lambda: self.transformer.set_submodule(path, original))

    def _attend(self, attention: Any, processor: QuantizedAttention) -> None:
        original = attention.processor
        attention.processor = processor
        self._undo.append(lambda: setattr(attention, "processor", original))

    def __enter__(self) -> QuantizedModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def quantize_model(
    transformer: nn.Module,
    groups: Sequence[Group],
    allocation: Mapping[str, Precision],
    quantizer: GroupQuantizer,
    *,
    block_inputs: Callable[[int], BlockInputs] | None = None,
    attention_bits: int | None = None,
    advance: Callable[[int], None] = lambda _groups: None,
) -> QuantizedModel:
    """Replace the linear layers of ``groups`` by quantized ones; ``allocation`` covers all groups.

    Groups in floating point are left alone. ``block_inputs`` gives the inputs of a block by number,
    for a rounding of whole blocks. ``attention_bits`` quantizes the operands of both attention
    products. ``advance`` is called with 1 after each group.

    All groups are quantized before the first layer is swapped, so an error leaves the model
    untouched. Raises BenchError for an allocation that does not fit the groups, and as
    ``GroupQuantizer``.
    """
    check_allocation([group.name for group in groups], allocation)
    attention = None if attention_bits is None else QuantizedAttention(attention_bits)
    wanted = [group for group in groups if not allocation[group.name].is_full]
    made: list[QuantizedGroup] = []
    with torch.no_grad():
        if not quantizer.rounding.by_block:
            for group in wanted:
                made.append(quantizer.quantize(transformer, group, allocation[group.name]))
                advance(1)
        else:
            for number, own in groupby(wanted, key=lambda group: group.block):
                prepared = [quantizer.prepare(transformer, g, allocation[g.name]) for g in own]
                prefix = f"transformer_blocks.{number}"
                if block_inputs is None:
                    raise BenchError(
                        f"block {prefix}: a rounding of whole blocks needs calibration inputs"
                    )
                inputs = block_inputs(number)
                block = BlockRun(transformer, prefix, prepared, inputs, attention)
                made += quantizer.quantize_block(block)
                advance(len(prepared))
    return QuantizedModel(transformer, made, attention, quantizer.clock)


def quantize_fixed(
    transformer: nn.Module, groups: Sequence[Group], precision: Precision, quantizer: GroupQuantizer
) -> QuantizedModel:
    """Quantize only the groups that no search touches (adaLN), layer by layer, to ``precision``."""
    fixed = [g for g in groups if not g.searchable and not precision.is_full]
    with torch.no_grad():
        made = [quantizer.quantize(transformer, group, precision) for group in fixed]
    return QuantizedModel(transformer, made)


def _tell_time(clock: Clock):  # type: ignore[no-untyped-def]
    """Return a hook on a diffusers transformer that tells ``clock`` the time steps of a forward.

    The transformer is called as ``forward(hidden_states, timestep, class_labels)``, with the time
    steps by name or second.
    """

    def hook(_module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        clock.set(named["timestep"] if "timestep" in named else arguments[1])

    return hook
