"""From an ``nn.Linear`` and a precision to what replaces it: basis, weight, branch, input grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from ..contracts import (
    Branch,
    FittedBranch,
    FittedTransform,
    LayerData,
    QuantizedWeight,
    Rounding,
    Transform,
)
from ..core.errors import BenchError, Diverged
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import Precision
from ..cost.count import Operator
from ..cost.storage import SCALE_BYTES, GridBytes, grid_bytes, packed_bytes
from ..dit.groups import Group, linear_layer
from .activation import ActivationQuantizer, static_quantizer
from .affine import check_group
from .branch import branch_of_rest, branch_operator, branch_size, round_beside
from .linear import QuantizedInput, QuantizedLinear
from .ranges import Clock, StepRanges


@dataclass(frozen=True)
class Prepared:
    """A layer before rounding: ``weight`` (out, in) and ``data`` are in the new basis.

    The formats in ``data`` are those of its precision where that has a group size. ``branched``
    says whether it gets a branch.
    """

    path: str
    original: nn.Linear
    precision: Precision
    weight: torch.Tensor
    data: LayerData
    source: QuantizedInput
    reader: int
    branched: bool = False

    def layer(
        self,
        weight: torch.Tensor,
        original: nn.Linear | None = None,
        branch: FittedBranch | None = None,
    ) -> QuantizedLinear:
        """The module with ``weight`` (new basis), in place of ``original`` or a copy of it."""
        stands_for = self.original if original is None else original
        return QuantizedLinear(stands_for, weight, self.precision, self.source, self.reader, branch)


@dataclass(frozen=True)
class Rounded:
    """A weight (out, in) on its grid, and the branch beside it, where there is one."""

    weight: QuantizedWeight
    branch: FittedBranch | None = None


@dataclass(frozen=True)
class GroupQuantizer:
    """Prepares, rounds and finishes layers under one recipe.

    ``clock`` is set where grids follow time.
    """

    transform: Transform
    rounding: Rounding
    weight_format: WeightFormat
    activation_format: ActivationFormat
    layer_data: Callable[[str], LayerData]
    static_ranges: Mapping[str, StepRanges]
    clock: Clock
    branch: Branch | None = None

    def prepare(self, model: nn.Module, group: Group, precision: Precision) -> list[Prepared]:
        """The layers of ``group``, which read one input, in one common basis.

        Raises BenchError for a layer without weights and a group size that does not divide a width.
        """
        layers = {path: linear_layer(model, path) for path in group.layers}
        for path, layer in layers.items():
            if layer.weight.is_meta:
                raise BenchError(f"layer {path} is on the meta device: it has no weights")
        known = {path: self._told(path, layer, precision) for path, layer in layers.items()}
        fitted = self._fit(group, layers, known)
        moved = _move(next(iter(known.values())), fitted)
        activation = self._activation(group.layers[0], layers, fitted, moved)
        source = QuantizedInput(fitted, activation, len(layers))
        return [
            Prepared(
                path=path,
                original=layer,
                precision=precision,
                weight=fitted.weight(layer.weight.float()),
                data=replace(
                    known[path],
                    inputs=moved.inputs,
                    moment=moved.moment,
                    step_maxima=None,  # of the old basis
                    steps=None,
                ),
                source=source,
                reader=reader,
                branched=precision.branched and self._has_branch(group, layer),
            )
            for reader, (path, layer) in enumerate(layers.items())
        ]

    def rounded(self, layer: Prepared) -> Rounded:
        """The weight of ``layer`` rounded by itself, with its branch; it must have weight bits."""
        data = layer.data
        if self.branch is None or not layer.branched:
            fmt, bits = data.weight_format, layer.precision.weight
            assert bits is not None
            return Rounded(self.rounding.round(layer.weight, data, fmt, bits))
        if self.rounding.by_block:
            alone = replace(self, branch=None).rounded(layer).weight
            return self.beside(layer, alone)
        return Rounded(*round_beside(layer.weight, data, self.rounding, self.branch))

    def beside(self, layer: Prepared, weight: QuantizedWeight) -> Rounded:
        """``weight`` as it was rounded with its whole block, and a branch of what it lost."""
        if self.branch is None or not layer.branched:
            return Rounded(weight)
        return Rounded(weight, branch_of_rest(layer.weight, layer.data, weight, self.branch))

    def finish(self, layer: Prepared, rounded: Rounded | None) -> tuple[QuantizedLinear, GridBytes]:
        """The module and its grid sizes; raises as ``quantize_model`` says."""
        precision, weight, branch = layer.precision, layer.weight, None
        formats = (layer.data.weight_format, layer.data.activation_format)
        grids = grid_bytes(layer.path, layer.original, precision, *formats)
        if rounded is not None and precision.weight is not None:
            _check_rounded(layer.path, rounded.weight, weight, precision.weight)
            grids = _measured(grids, rounded.weight, layer, *formats)
            weight, branch = rounded.weight.dequantize(), rounded.branch
        module = layer.layer(weight, branch=branch)
        if not torch.isfinite(module.weight).all():
            raise Diverged(f"layer {layer.path}: its weight at {precision} is not finite")
        return module, grids

    def operators(self, group: Group, layers: Mapping[str, QuantizedLinear]) -> list[Operator]:
        """The cost of the transform that ``layers`` (by path) share, and of their branches."""
        fitted = next(iter(layers.values())).transform
        found = []
        if fitted.macs_per_token or fitted.extra_bits:
            macs, stored = fitted.macs_per_token * group.tokens, packed_bytes(fitted.extra_bits, 1)
            found.append(Operator(f"{group.name}.transform", "transform", macs, scale_bytes=stored))
        branches = ((path, layer.branch) for path, layer in layers.items())
        return found + [
            branch_operator(path, group, branch.size)
            for path, branch in branches
            if branch is not None
        ]

    def _has_branch(self, group: Group, layer: nn.Linear) -> bool:
        return branch_size(self.branch, group, layer.out_features, layer.in_features) is not None

    def _told(self, path: str, layer: nn.Linear, precision: Precision) -> LayerData:
        formats = precision.formats(self.weight_format, self.activation_format)
        for fmt, bits in zip(formats, (precision.weight, precision.activation), strict=True):
            if bits is not None and fmt.group is not None:
                check_group(path, layer.in_features, fmt.group)
        return replace(
            self.layer_data(path),
            name=path,
            in_features=layer.in_features,
            out_features=layer.out_features,
            precision=precision,
            weight_format=formats[0],
            activation_format=formats[1],
        )

    def _fit(
        self, group: Group, layers: Mapping[str, nn.Linear], known: Mapping[str, LayerData]
    ) -> FittedTransform:
        stacked = torch.cat([layer.weight.float() for layer in layers.values()])
        first = known[group.layers[0]]
        return self.transform.fit(
            stacked, replace(first, name=group.name, out_features=len(stacked))
        )

    def _activation(
        self,
        path: str,
        layers: Mapping[str, nn.Linear],
        fitted: FittedTransform,
        moved: LayerData,
    ) -> ActivationQuantizer | None:
        fmt, bits = moved.activation_format, moved.precision.activation
        if bits is None:
            return None
        if not fmt.is_static:
            return ActivationQuantizer(bits, fmt)
        seen = self._seen(path, layers[path], fitted, moved)
        ranges = seen.grouped(path, fmt.time_groups, self.clock.trained_steps)
        return static_quantizer(path, ranges, bits, fmt, self.clock)

    def _seen(
        self, path: str, layer: nn.Linear, fitted: FittedTransform, moved: LayerData
    ) -> StepRanges:
        """Ranges of the input in the basis that is quantized."""
        if not _changes_input(fitted, layer):
            if path not in self.static_ranges:
                raise BenchError(f"layer {path}: a static activation format needs its input range")
            return self.static_ranges[path]
        if moved.inputs is None or moved.times is None:
            raise BenchError(
                f"layer {path}: its transform changes the input, so a static activation format "
                "needs calibration inputs and their times; use one per token instead"
            )
        return StepRanges.of_rows(moved.inputs, moved.times)


def _move(data: LayerData, fitted: FittedTransform) -> LayerData:
    """Inputs and second moment in the new basis: rows to ``x A^T``, ``M`` to ``A M A^T``."""
    inputs, moment = data.inputs, data.moment
    if inputs is not None:
        inputs = fitted.input(inputs)
    if moment is not None:
        moment = fitted.input(fitted.input(moment).T.contiguous())
    return replace(data, inputs=inputs, moment=moment)


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
    layer: Prepared,
    weight_format: WeightFormat,
    activation_format: ActivationFormat,
) -> GridBytes:
    """Grid sizes with the scales and zero points that the rounding really made."""
    only = Precision(None, layer.precision.activation)
    rest = grid_bytes("", layer.original, only, weight_format, activation_format)
    scale = rest.scale + SCALE_BYTES * rounded.scale.numel()
    if weight_format.symmetric and not rounded.zero.any():
        return GridBytes(scale, 0, rest.input_zero)
    zero = packed_bytes(rounded.zero.numel(), rounded.bits)
    return GridBytes(scale, zero, rest.input_zero)
