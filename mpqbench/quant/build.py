"""Quantizing a group: change of basis, input quantizer, integers, branch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
from ..core.formats import ActivationFormat, WeightFormat, check_group
from ..core.precision import Precision
from ..cost.storage import qparam_bytes
from ..dit.architectures import architecture_of
from ..dit.groups import Group, linear_layer
from .activation import ActivationQuantizer, Clock, StepRanges
from .attention import QuantizedAttention
from .block import BlockInputs, BlockRun
from .branch import branch_of_rest, lent, round_beside
from .group import PreparedGroup, PreparedLayer, QuantizedGroup, RoundedLayer, float_copy
from .planned import branch_size, shares_branch
from .shared import round_beside_shared
from .verify import (
    expect_bits,
    expect_branch,
    expect_integers,
    expect_scales,
    expect_tensor,
    expect_transform,
    expect_values,
    expect_zeros,
    of_layer,
    probe,
)


@dataclass(frozen=True)
class GroupQuantizer:
    """Makes quantized groups under one recipe.

    ``layer_data`` gives what the plugins may know of the layer at a path, ``static_ranges`` the
    ranges of each layer's input, for a static activation format and transforms that leave the input
    as it is. A precision with a group size has formats of its own in place of the two given.
    ``branch`` is for the layers of searchable groups. ``clock`` tells time-grouped static formats
    the time step. ``block_inputs`` gives the inputs of a block by number, for a rounding of whole
    blocks; ``attention_bits`` are those of the operands of both attention products.

    Raises BenchError for a clock with another number of time groups than the format.
    """

    transform: Transform
    rounding: Rounding
    weight_format: WeightFormat
    activation_format: ActivationFormat
    layer_data: Callable[[str], LayerData]
    static_ranges: Mapping[str, StepRanges] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    branch: Branch | None = None
    block_inputs: Callable[[int], BlockInputs] | None = None
    attention_bits: int | None = None

    def __post_init__(self) -> None:
        count = self.activation_format.time_groups
        if self.clock.count != count:
            raise BenchError(f"a format of {count} time groups has a clock of {self.clock.count}")

    @property
    def attention(self) -> QuantizedAttention | None:
        """The processor of quantized attention, if any."""
        return None if self.attention_bits is None else QuantizedAttention(self.attention_bits)

    def quantize(self, model: nn.Module, group: Group, precision: Precision) -> QuantizedGroup:
        """Quantize ``group`` layer by layer, also where the rounding could see whole blocks.

        Raises as ``prepare`` and ``round``.
        """
        prepared = self.prepare(model, group, precision)
        return QuantizedGroup(prepared, self.round(prepared))

    def quantize_block(
        self, model: nn.Module, groups: Sequence[Group], allocation: Mapping[str, Precision]
    ) -> list[QuantizedGroup]:
        """Quantize ``groups`` of one block together, by the rounding's ``round_block``.

        Raises as ``prepare`` and ``round``, and BenchError without ``block_inputs``, for several
        weight formats and where the rounding leaves a layer out or names another one.
        """
        prepared = [self.prepare(model, group, allocation[group.name]) for group in groups]
        prefix = architecture_of(model).blocks(model)[groups[0].block].path
        if self.block_inputs is None:
            raise BenchError(f"block {prefix}: a rounding of whole blocks needs calibration inputs")
        inputs = self.block_inputs(groups[0].block)
        block = BlockRun(model, prefix, prepared, inputs, self.attention)
        weights = block.round(self.rounding, self.clock)
        made = []
        for group in prepared:
            layers = group.layers.items()
            rounded = {path: self._finished(layer, weights.get(path)) for path, layer in layers}
            made.append(QuantizedGroup(group, rounded))
        return made

    def prepare(
        self,
        model: nn.Module,
        group: Group,
        precision: Precision,
        fitted: FittedTransform | None = None,
    ) -> PreparedGroup:
        """Move the layers of ``group``, which read one input, into one basis.

        It is fitted, or the one that was ``fitted`` before. Raises BenchError for a layer without
        weights, a group size that does not divide a width and a missing range.
        """
        layers = {path: linear_layer(model, path) for path in group.layers}
        for path, layer in layers.items():
            if layer.weight.is_meta:
                raise BenchError(f"layer {path} is on the meta device: it has no weights")
        known = {path: self._data(path, layer, precision) for path, layer in layers.items()}
        stacked = torch.cat([float_copy(layer.weight) for layer in layers.values()])
        whole = lent(known[group.layers[0]])
        whole = replace(whole, name=group.name, out_features=len(stacked))
        size = self.transform.size(group.name, whole.in_features)
        if fitted is None:
            fitted = self.transform.fit(stacked, whole)
            with of_layer(group.name):
                expect_transform(fitted, size, probe(whole.in_features, stacked))
        moved = _moved(known[group.layers[0]], fitted)
        prepared = {}
        for path, layer in layers.items():
            weight, branch = fitted.weight(float_copy(layer.weight)), None
            if precision.branched:
                branch = branch_size(self.branch, group, *layer.weight.shape)
            data = replace(known[path], inputs=moved.inputs, moment=moved.moment)
            data = replace(data, step_maxima=None, steps=None)  # of the old basis
            prepared[path] = PreparedLayer(layer, weight, data, branched=branch is not None)
        activation = self._activation(stacked, fitted, moved)
        return PreparedGroup(group, precision, fitted, size, activation, prepared)

    def round(self, prepared: PreparedGroup) -> dict[str, RoundedLayer]:
        """Round each layer of a prepared group by itself, with its branch.

        Raises BenchError for a rounding or a branch that breaks its contract; Diverged, naming the
        layer, where a rounded weight is not finite.
        """
        found, layers = {}, list(prepared.layers.values())
        is_rounded = prepared.precision.weight is not None
        if (
            self.branch
            and is_rounded
            and layers[0].branched
            and shares_branch(self.branch, prepared.group)
        ):
            parts = [each.weight for each in layers], [each.data for each in layers]
            pairs = round_beside_shared(*parts, self.rounding, self.branch)
            every = zip(prepared.layers.items(), pairs, strict=True)
            return {path: _checked(layer, *pair) for (path, layer), pair in every}
        for path, layer in prepared.layers.items():
            data, bits, branch = layer.data, layer.data.precision.weight, self.branch
            if bits is None:
                found[path] = _checked(layer, None, None)
            elif layer.branched and branch is not None and not self.rounding.by_block:
                pair = round_beside(layer.weight, data, self.rounding, branch)
                found[path] = _checked(layer, *pair)
            else:
                given = layer.weight.clone(), lent(data)
                alone = self.rounding.round(*given, data.weight_format, bits)
                found[path] = self._finished(layer, alone)
        return found

    def _finished(self, layer: PreparedLayer, weight: QuantizedWeight | None) -> RoundedLayer:
        """Add a branch of what a rounding that is not repeated has lost, where there is one."""
        branch = None
        if weight is not None and layer.branched and self.branch is not None:
            branch = branch_of_rest(layer.weight, layer.data, weight, self.branch)
        return _checked(layer, weight, branch)

    def _data(self, path: str, layer: nn.Linear, precision: Precision) -> LayerData:
        (out, width), data = layer.weight.shape, self.layer_data(path)
        weight, activation = precision.formats(self.weight_format, self.activation_format)
        for fmt, bits in ((weight, precision.weight), (activation, precision.activation)):
            if bits is not None and fmt.group is not None:
                check_group(path, width, fmt.group)
        data = replace(data, name=path, in_features=width, out_features=out, precision=precision)
        return replace(data, weight_format=weight, activation_format=activation)

    def _activation(
        self, weight: torch.Tensor, fitted: FittedTransform, moved: LayerData
    ) -> ActivationQuantizer | None:
        path, fmt, bits = moved.name, moved.activation_format, moved.precision.activation
        if bits is None:
            return None
        if not fmt.is_static:
            return ActivationQuantizer(bits, fmt)
        # Whether the transform does anything to an input: a row of distinct numbers shows it.
        probe = torch.arange(1.0, moved.in_features + 1, device=weight.device).unsqueeze(0)
        if torch.equal(fitted.input(probe.clone()), probe):
            if path not in self.static_ranges:
                raise BenchError(f"layer {path}: a static activation format needs its input range")
            seen = self.static_ranges[path]
        elif moved.inputs is None or moved.times is None:
            raise BenchError(
                f"layer {path}: its transform changes the input, so a static activation format "
                "needs calibration inputs and their times; use one per token instead"
            )
        else:
            seen = StepRanges.of_rows(moved.inputs, moved.times)
        return seen.quantizer(path, bits, fmt, self.clock)


def _moved(data: LayerData, fitted: FittedTransform) -> LayerData:
    """Move inputs and second moment into the new basis: rows to ``x A^T``, ``M`` to ``A M A^T``."""
    inputs, moment = data.inputs, data.moment
    if inputs is not None:
        inputs = fitted.input(inputs)
    if moment is not None:
        moment = fitted.input(fitted.input(moment).T.contiguous())
    return replace(data, inputs=inputs, moment=moment)


def _checked(
    layer: PreparedLayer, weight: QuantizedWeight | None, branch: FittedBranch | None
) -> RoundedLayer:
    """Check what a rounding gave, and measure its quantization parameters."""
    data, values, scales, zeros = layer.data, layer.weight, 0, 0
    with of_layer(data.name):
        if weight is not None:
            expect_integers(weight, layer.weight.shape)
            expect_bits(weight, data.precision.weight_bits)
            values = weight.dequantize()
        if branch is not None:
            expect_branch(branch, branch.size, probe(data.in_features, values))
            expect_tensor("the matrix of its branch", branch.dense(), values.shape)
        if not torch.isfinite(values).all():
            raise Diverged(f"its weight at {data.precision} is not finite")
        if weight is not None:
            expect_scales(weight, data.weight_format)
            expect_zeros(weight, data.weight_format)
            expect_values(weight, values)
            scales, zeros = weight.scale.numel(), weight.zero.numel()
            if data.weight_format.symmetric:
                zeros = 0
    storage = qparam_bytes(data.precision, data.activation_format, scales, zeros)
    return RoundedLayer(layer.owned(values), storage, weight, branch)
