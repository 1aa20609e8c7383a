"""Putting an allocation into a model, and taking it out again without a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from types import TracebackType
from typing import Any

import torch
from torch import nn

from ..contracts import Branch, LayerData, QuantizedWeight, Rounding, Transform
from ..core.errors import BenchError
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Precision
from ..cost.count import Operator
from ..cost.storage import GridBytes
from ..dit.groups import Group, check_allocation
from .attention import QuantizedAttention
from .block import BlockInputs, round_together
from .build import GroupQuantizer, Prepared, Rounded
from .linear import QuantizedLinear
from .ranges import Clock, StepRanges

TRAINED_STEPS = 1000  # of every DiT; a time-grouped format divides them


class QuantizedModel:
    """A transformer with quantized layers in place of its own, until ``remove``.

    ``layers`` are the new modules by path, ``rounded`` the integers and grids of those whose weight
    is rounded, on the CPU; ``storage`` what their grids take in bytes and
    ``operators`` what their transforms and branches cost, both as ``cost.count`` takes them.
    Leaving the ``with`` block removes. Move or cast the transformer before quantizing: the
    originals that wait outside it do not move along. With ``clock``, every forward tells it its
    time steps.
    """

    def __init__(
        self,
        transformer: Any,
        layers: Mapping[str, QuantizedLinear],
        storage: Mapping[str, GridBytes],
        operators: Sequence[Operator],
        attention: QuantizedAttention | None = None,
        clock: Clock | None = None,
        rounded: Mapping[str, QuantizedWeight] | None = None,
    ) -> None:
        self.transformer = transformer
        self.rounded = dict(rounded or {})
        self.layers = dict(layers)
        self.storage = dict(storage)
        self.operators = tuple(operators)
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
            if self._clock is not None:
                hook = _tell_time(self._clock)
                handle = self.transformer.register_forward_pre_hook(hook, with_kwargs=True)
                self._undo.append(handle.remove)
        except BaseException:
            self.remove()
            raise

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """The transformer in full precision while inside, as it was before."""
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
    *,
    transform: Transform,
    rounding: Rounding,
    branch: Branch | None = None,
    weight_format: WeightFormat,
    activation_format: ActivationFormat,
    layer_data: Callable[[str], LayerData],
    static_ranges: Mapping[str, StepRanges] | None = None,
    block_inputs: Callable[[int], BlockInputs] | None = None,
    attention_bits: int | None = None,
    advance: Callable[[int], None] = lambda _groups: None,
) -> QuantizedModel:
    """Replace the linear layers of ``groups`` by quantized ones; ``allocation`` covers all groups.

    Groups in floating point are left alone, and a precision with a group size stands for formats
    of its own in place of the two given. ``branch`` adds a branch to the layers of searchable
    groups, fitted in turn with the rounding or, where that sees whole blocks, to what it lost.
    ``layer_data`` gives what the plugins may know of the
    layer at a path. ``static_ranges`` gives the ranges of each layer's own input, for a static
    activation format; where a transform changes the input, they are taken from the transformed
    calibration inputs instead. ``block_inputs`` gives the inputs of a block by number, for a
    rounding that works on whole blocks. ``attention_bits`` quantizes the operands of both
    attention products. ``advance`` is called with 1 after each group.

    All layers are built before the first one is swapped, so an error leaves the model untouched.
    Raises BenchError for an allocation that does not fit the groups, a group size that does not
    divide a width, a missing range and a rounding or a branch that breaks its contract; Diverged,
    naming the layer, where a rounded weight is not finite.
    """
    check_allocation([group.name for group in groups], allocation)
    clock = Clock(activation_format.time_groups, TRAINED_STEPS)
    formats = (weight_format, activation_format)
    ranges = static_ranges or {}
    build = GroupQuantizer(transform, rounding, *formats, layer_data, ranges, clock, branch)
    attention = None if attention_bits is None else QuantizedAttention(attention_bits)
    layers: dict[str, QuantizedLinear] = {}
    storage: dict[str, GridBytes] = {}
    integers: dict[str, QuantizedWeight] = {}
    operators: list[Operator] = []
    quantized = [group for group in groups if not allocation[group.name].is_full]
    with torch.no_grad():
        for unit in _units(quantized, rounding):
            prepared = [build.prepare(transformer, g, allocation[g.name]) for g in unit]
            flat = [layer for own in prepared for layer in own]
            rounded = _rounded(build, transformer, unit, flat, block_inputs, attention)
            for layer in flat:
                module, grids = build.finish(layer, rounded.get(layer.path))
                layers[layer.path], storage[layer.path] = module, grids
                if layer.path in rounded:
                    integers[layer.path] = on_cpu(rounded[layer.path].weight)
            for group in unit:
                operators += build.operators(group, {path: layers[path] for path in group.layers})
                advance(1)
    timed = clock if activation_format.time_groups > 1 else None
    return QuantizedModel(transformer, layers, storage, operators, attention, timed, integers)


def on_cpu(weight: QuantizedWeight) -> QuantizedWeight:
    """The same off the device, whose memory the model needs."""
    parts = (weight.integers.cpu(), weight.scale.cpu(), weight.zero.cpu())
    return QuantizedWeight(*parts, weight.bits)


def _units(groups: Sequence[Group], rounding: Rounding) -> Iterator[list[Group]]:
    """What is rounded in one go: a block where the rounding sees blocks, or else a group."""
    if rounding.by_block:
        for _, own in groupby(groups, key=lambda group: group.block):
            yield list(own)
    else:
        yield from ([group] for group in groups)


def _rounded(
    build: GroupQuantizer,
    transformer: nn.Module,
    unit: Sequence[Group],
    layers: Sequence[Prepared],
    block_inputs: Callable[[int], BlockInputs] | None,
    attention: QuantizedAttention | None,
) -> Mapping[str, Rounded]:
    """Integers and branches by path, of the layers whose weight is quantized."""
    rounding = build.rounding
    weighted = {layer.path: layer for layer in layers if layer.precision.weight is not None}
    if not rounding.by_block:
        return {path: build.rounded(layer) for path, layer in weighted.items()}
    block = unit[0].block
    prefix = f"transformer_blocks.{block}"
    if block_inputs is None:
        raise BenchError(f"block {prefix}: a rounding of whole blocks needs calibration inputs")
    together = round_together(
        rounding,
        transformer,
        prefix,
        layers,
        block_inputs(block),
        _one_format(prefix, layers),
        build.clock,
        attention,
    )
    return {path: build.beside(weighted[path], weight) for path, weight in together.items()}


def _one_format(prefix: str, layers: Sequence[Prepared]) -> WeightFormat:
    """The weight format of a block that is rounded as a whole, adaLN in floating point left out."""
    formats = {layer.data.weight_format for layer in layers if layer.precision.weight is not None}
    if len(formats) > 1:
        raise BenchError(
            f"block {prefix}: a rounding of whole blocks takes one weight format, so give all its "
            "layers, adaLN too, one group size"
        )
    return formats.pop() if formats else layers[0].data.weight_format


def _tell_time(clock: Clock):  # type: ignore[no-untyped-def]
    """A hook on a diffusers transformer, whose time steps are ``timestep``, by name or second.

    ``forward(hidden_states, timestep, class_labels)``.
    """

    def hook(_module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        clock.set(named["timestep"] if "timestep" in named else arguments[1])

    return hook
