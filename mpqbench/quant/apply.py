"""Putting an allocation into a model, and taking it out again without a trace."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, Self

import torch
from torch import nn

from ..core.precision import Precision
from ..cost.count import Operator
from ..cost.storage import QParamBytes
from ..dit.architectures import architecture_of
from ..dit.groups import Group, check_allocation
from .activation import Clock
from .attention import QuantizedAttention
from .build import GroupQuantizer
from .group import QuantizedGroup


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
        self.layers = {path: layer for group in groups for path, layer in group.layers.items()}
        self.rounded = {path: q for group in groups for path, q in group.integers.items()}
        self.storage: dict[str, QParamBytes] = {}
        self.operators: tuple[Operator, ...] = ()
        for group in groups:
            self.storage |= group.storage
            self.operators += group.operators()
        self._attention, self._clock = attention, clock
        self._undo: list[Callable[[], object]] = []
        self._install()

    def _install(self) -> None:
        try:
            for path, module in self.layers.items():
                original = self.transformer.get_submodule(path)
                self._swap(partial(self.transformer.set_submodule, path), original, module)
            for path, attention in self._quantized_attention().items():
                module = self.transformer.get_submodule(path)
                module.forward = attention.of(module)
                self._undo.append(partial(delattr, module, "forward"))
            if self._clock is not None and self._clock.count > 1:
                register = self.transformer.register_forward_pre_hook
                self._undo.append(register(self._tell_time, with_kwargs=True).remove)
        except BaseException:
            self.remove()
            raise

    def _quantized_attention(self) -> dict[str, QuantizedAttention]:
        """Return what takes the place of the products of each attention module, by path."""
        if self._attention is None:
            return {}
        products = architecture_of(self.transformer).quantized_attention(self.transformer)
        return {attention.path: self._attention for attention in products}

    def _swap(self, put: Callable[[Any], object], original: Any, new: Any) -> None:
        put(new)
        self._undo.append(partial(put, original))

    def _tell_time(
        self, _module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        """Tell the clock the time steps of a forward, which are given by name or second."""
        assert self._clock is not None
        given = named["timestep"] if "timestep" in named else arguments[1]
        scale = architecture_of(self.transformer).time_scale
        self._clock.set(given if scale == 1 else given.double() / scale)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.remove()


def quantize_model(
    transformer: nn.Module,
    groups: Sequence[Group],
    allocation: Mapping[str, Precision],
    quantizer: GroupQuantizer,
    advance: Callable[[int], None] = lambda _groups: None,
) -> QuantizedModel:
    """Replace the linear layers of ``groups`` by quantized ones; ``allocation`` covers all groups.

    Groups in floating point are left alone. ``advance`` is called with the number of groups that
    were quantized. All groups are quantized before the first layer is swapped, so an error leaves
    the model untouched. Raises BenchError for an allocation that does not fit the groups, and as
    ``GroupQuantizer``.
    """
    check_allocation([group.name for group in groups], allocation)
    wanted = [group for group in groups if not allocation[group.name].is_full]
    made: list[QuantizedGroup] = []
    with torch.no_grad():
        if not quantizer.rounding.by_block:
            for group in wanted:
                made.append(quantizer.quantize(transformer, group, allocation[group.name]))
                advance(1)
        else:
            for _, block in groupby(wanted, key=lambda group: group.block):
                quantized = quantizer.quantize_block(transformer, list(block), allocation)
                made += quantized
                advance(len(quantized))
    return QuantizedModel(transformer, made, quantizer.attention, quantizer.clock)


def quantize_fixed(
    transformer: nn.Module, groups: Sequence[Group], precision: Precision, quantizer: GroupQuantizer
) -> QuantizedModel:
    """Quantize only the groups that no search touches (adaLN), layer by layer, to ``precision``."""
    fixed = [g for g in groups if not g.searchable and not precision.is_full]
    with torch.no_grad():
        made = [quantizer.quantize(transformer, group, precision) for group in fixed]
    return QuantizedModel(transformer, made)
