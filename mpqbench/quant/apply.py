"""Putting an allocation into a model, and taking it out again without a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

import torch
from torch import nn

from ..contracts import FittedTransform, LayerData, QuantizedWeight, Rounding, Transform
from ..cost import Operator
from ..errors import BenchError, Diverged
from ..formats import ActivationFormat, WeightFormat
from ..models.groups import Group, check_allocation, linear_layer
from ..precision import Precision
from .activation import ActivationQuantizer, static_grid
from .linear import QuantizedLinear
from .storage import SCALE_BYTES, GridBytes, grid_bytes, packed_bytes


class QuantizedModel:
    """A transformer with quantized layers in place of its own, until ``remove``.

    ``layers`` are the new modules by path; ``storage`` what their grids take in bytes and
    ``operators`` what their transforms cost, both as ``cost.count`` takes them. Leaving the
    ``with`` block removes. Move or cast the transformer before quantizing: the originals that
    wait outside it do not move along.
    """

    def __init__(
        self,
        transformer: nn.Module,
        layers: Mapping[str, QuantizedLinear],
        storage: Mapping[str, GridBytes],
        operators: Sequence[Operator],
    ) -> None:
        self.transformer = transformer
        self.layers = dict(layers)
        self.storage = dict(storage)
        self.operators = tuple(operators)
        self._originals: dict[str, nn.Module] = {}
        try:
            for path, module in layers.items():
                original = transformer.get_submodule(path)
                transformer.set_submodule(path, module)
                self._originals[path] = original
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Put the very same original modules back; a second call does nothing."""
        for path, original in self._originals.items():
            self.transformer.set_submodule(path, original)
        self._originals = {}

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
    weight_format: WeightFormat,
    activation_format: ActivationFormat,
    layer_data: Callable[[str], LayerData],
    static_ranges: Mapping[str, tuple[float, float]] | None = None,
) -> QuantizedModel:
    """Replace the linear layers of ``groups`` by quantized ones; ``allocation`` covers all groups.

    Groups in floating point are left alone. ``layer_data`` gives what the plugins may know of the
    layer at a path. ``static_ranges`` gives (min, max) of each layer's own input, for a static
    activation format; where a transform changes the input, the range is taken from the transformed
    calibration inputs instead.

    All layers are built before the first one is swapped, so an error leaves the model untouched.
    Raises BenchError for an allocation that does not fit the groups, a group size that does not
    divide a width, a missing range and a rounding that breaks its contract; Diverged, naming the
    layer, where a rounded weight is not finite.
    """
    check_allocation([group.name for group in groups], allocation)
    build = _Builder(transform, rounding, weight_format, activation_format, static_ranges)
    layers: dict[str, QuantizedLinear] = {}
    storage: dict[str, GridBytes] = {}
    operators: list[Operator] = []
    with torch.no_grad():
        for group in groups:
            precision = allocation[group.name]
            if precision.is_full:
                continue
            for path in group.layers:
                original = linear_layer(transformer, path)
                layer, grids = build(path, original, precision, layer_data(path))
                layers[path], storage[path] = layer, grids
                operators += _transform_operator(path, layer.transform, group.tokens)
    return QuantizedModel(transformer, layers, storage, operators)


@dataclass(frozen=True)
class _Builder:
    """One ``nn.Linear`` and a precision to one ``QuantizedLinear`` and its grid sizes."""

    transform: Transform
    rounding: Rounding
    weight_format: WeightFormat
    activation_format: ActivationFormat
    static_ranges: Mapping[str, tuple[float, float]] | None

    def __call__(
        self, path: str, original: nn.Linear, precision: Precision, data: LayerData
    ) -> tuple[QuantizedLinear, GridBytes]:
        if original.weight.is_meta:
            raise BenchError(f"layer {path} is on the meta device: it has no weights to quantize")
        grids = grid_bytes(path, original, precision, self.weight_format, self.activation_format)
        fitted = self.transform.fit(original.weight.float(), data)
        weight = fitted.weight(original.weight.float())
        if data.inputs is not None:
            data = replace(data, inputs=fitted.input(data.inputs))
        if precision.weight is not None:
            rounded = self.rounding.round(weight, data, self.weight_format, precision.weight)
            _check_rounded(path, rounded, weight, precision.weight)
            grids = _measured(grids, rounded, original, precision, self)
            weight = rounded.dequantize()
        activation = self._activation(path, original, precision, fitted, data)
        layer = QuantizedLinear(original, weight, precision, fitted, activation)
        if not torch.isfinite(layer.weight).all():
            raise Diverged(f"layer {path}: its weight at {precision} is not finite")
        return layer, grids

    def _activation(
        self,
        path: str,
        original: nn.Linear,
        precision: Precision,
        fitted: FittedTransform,
        data: LayerData,
    ) -> ActivationQuantizer | None:
        fmt, bits = self.activation_format, precision.activation
        if bits is None:
            return None
        if not fmt.is_static:
            return ActivationQuantizer(bits, fmt)
        low, high = self._static_range(path, original, fitted, data)
        return ActivationQuantizer(bits, fmt, static_grid(path, low, high, bits, fmt.symmetric))

    def _static_range(
        self, path: str, original: nn.Linear, fitted: FittedTransform, data: LayerData
    ) -> tuple[float, float]:
        if _changes_input(fitted, original):
            if data.inputs is None:
                raise BenchError(
                    f"layer {path}: its transform changes the input, so a static activation "
                    "format needs calibration inputs; use one per token instead"
                )
            return float(data.inputs.min()), float(data.inputs.max())
        if self.static_ranges is None or path not in self.static_ranges:
            raise BenchError(f"layer {path}: a static activation format needs its input range")
        return self.static_ranges[path]


def _changes_input(fitted: FittedTransform, layer: nn.Linear) -> bool:
    """Whether ``fitted`` does anything to an input: a row of distinct numbers shows it."""
    probe = torch.arange(1.0, layer.in_features + 1, device=layer.weight.device).unsqueeze(0)
    return not torch.equal(fitted.input(probe.clone()), probe)


def _check_rounded(path: str, rounded: QuantizedWeight, weight: torch.Tensor, bits: int) -> None:
    """A rounding must not win by using more bits than it was given."""
    if rounded.integers.shape != weight.shape:
        raise BenchError(
            f"layer {path}: the rounding gave shape {tuple(rounded.integers.shape)} "
            f"for a weight of {tuple(weight.shape)}"
        )
    lowest, highest = (int(end) for end in rounded.integers.aminmax())
    half = 2 ** (bits - 1)
    fits = (lowest >= 0 and highest < 2 * half) or (lowest >= -half and highest < half)
    if rounded.bits != bits or not fits:
        raise BenchError(
            f"layer {path}: the rounding was asked for {bits} bits and gave {rounded.bits}-bit "
            f"integers from {lowest} to {highest}"
        )


def _measured(
    grids: GridBytes,
    rounded: QuantizedWeight,
    layer: nn.Linear,
    precision: Precision,
    build: _Builder,
) -> GridBytes:
    """Grid sizes with the scales and zero points that the rounding really made."""
    activation_only = Precision(None, precision.activation)
    rest = grid_bytes("", layer, activation_only, build.weight_format, build.activation_format)
    scale = rest.scale + SCALE_BYTES * rounded.scale.numel()
    if build.weight_format.symmetric and not rounded.zero.any():
        return GridBytes(scale, rest.zero)
    return GridBytes(scale, rest.zero + packed_bytes(rounded.zero.numel(), rounded.bits))


def _transform_operator(path: str, fitted: FittedTransform, tokens: int) -> list[Operator]:
    if not (fitted.macs_per_token or fitted.extra_bits):
        return []
    return [
        Operator(
            f"{path}.transform",
            "transform",
            fitted.macs_per_token * tokens,
            scale_bytes=packed_bytes(fitted.extra_bits, 1),
        )
    ]
