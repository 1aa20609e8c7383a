"""An allocation in a model, and the model without a trace of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_quantizer import (
    FORMATS,
    W4A4,
    W8A8,
    Scaled,
    assert_untouched,
    output,
    quantized,
    quantizer,
    snapshot,
)

from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.conformance.models import tiny_transformer
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError, Diverged
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Precision
from mpqbench.cost.count import CountOptions, count
from mpqbench.dit.groups import Group, layer_groups, uniform_allocation
from mpqbench.quant.activation import StepRanges
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.apply import QuantizedModel, quantize_model


class Odd(Nearest):
    """Gives more bits than it was asked for."""

    def round(self, weight, layer, fmt, bits):
        return replace(quantize_weight(weight, fmt, 8, layer.name), bits=bits)


class FailsLate(Nearest):
    """Rounds until it meets the last layer."""

    def round(self, weight, layer, fmt, bits):
        if layer.name == "transformer_blocks.1.ff.net.2":
            raise RuntimeError("no luck")
        return super().round(weight, layer, fmt, bits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_applied_lifted_and_removed_without_a_trace(transformer, dtype):
    model = transformer.to(dtype)
    before, unquantized = snapshot(model), output(model)
    with quantized(model) as made:
        assert len(made.layers) == 14
        assert {layer.weight.dtype for layer in made.layers.values()} == {dtype}
        own = output(model)
        assert not torch.equal(own, unquantized)
        with made.lifted():
            assert_untouched(model, before)
        assert torch.equal(output(model), own)
    assert_untouched(model, before)
    assert torch.equal(output(model), unquantized)
    made.remove()
    assert_untouched(model, before)


def test_an_error_leaves_the_model_untouched(transformer):
    before = snapshot(transformer)
    with pytest.raises(KeyError), quantized(transformer):
        raise KeyError
    assert_untouched(transformer, before)
    with pytest.raises(RuntimeError, match="no luck"):
        quantized(transformer, rounding=FailsLate())
    assert_untouched(transformer, before)
    group = layer_groups(transformer)[0]
    made = quantizer().quantize(transformer, group, W4A4)
    made.group = Group("elsewhere", "adaln", ("no.such",), False, 1)
    good = quantizer().quantize(transformer, group, W4A4)
    with pytest.raises(AttributeError):  # while swapping, after the first layer
        QuantizedModel(transformer, [good, made])
    assert_untouched(transformer, before)


def test_groups_in_floating_point_are_left_alone(transformer):
    kept = transformer.transformer_blocks[1].attn1.to_q
    with quantized(transformer, adaln=FULL, changes={"blocks.1.attn.qkv": FULL}) as made:
        assert len(made.layers) == 14 - 2 - 3
        assert transformer.transformer_blocks[1].attn1.to_q is kept


def test_weight_only_and_activation_only(transformer):
    path = "transformer_blocks.0.attn1.to_out.0"
    original = transformer.get_submodule(path)
    with quantized(transformer, Precision(4, None), FULL) as made:
        assert made.layers[path].source.activation is None
        assert len(made.layers[path].weight[0].unique()) <= 16
        assert path in made.rounded
    with quantized(transformer, Precision(None, 4), FULL) as made:
        assert torch.equal(made.layers[path].weight, original.weight)
        assert made.layers[path].source.activation.bits == 4
        assert made.storage[path].scale == 0
        assert not made.rounded


def test_a_transform_changes_weight_and_input_and_is_counted(transformer):
    path, seen = "transformer_blocks.0.ff.net.2", {}

    class Watching(Nearest):
        def round(self, weight, layer, fmt, bits):
            seen[layer.name] = (weight, layer)
            return super().round(weight, layer, fmt, bits)

    def data(name):
        width = transformer.get_submodule(name).in_features
        moment = torch.arange(float(width * width)).view(width, width)
        rows = torch.ones(2, width)
        return LayerData(name, 0, 0, inputs=rows, moment=moment + moment.T)

    with quantized(transformer):
        reference = output(transformer)
    plugins = {"transform": Scaled(), "rounding": Watching(), "layer_data": data}
    with quantized(transformer, **plugins) as made:
        # A power of two commutes with rounding on a min-max grid.
        torch.testing.assert_close(output(transformer), reference, rtol=0, atol=1e-6)
    weight, layer = seen[path]
    assert torch.equal(weight, transformer.get_submodule(path).weight * 4)
    assert torch.equal(layer.inputs, torch.full((2, 64), 0.25))
    assert torch.equal(layer.moment, data(path).moment / 16)
    assert (layer.in_features, layer.out_features, layer.precision) == (64, 16, W4A4)
    groups = layer_groups(transformer)
    options = CountOptions(**FORMATS, storage=made.storage, extra=made.operators)
    report = count(transformer, groups, uniform_allocation(groups, W4A4, W8A8), options)
    bare = replace(report, operators=report.operators[: -len(made.operators)])
    # One division for each number of each input, which queries, keys and values share.
    numbers = sum(g.tokens * transformer.get_submodule(g.layers[0]).in_features for g in groups)
    assert report.bitops - bare.bitops == numbers * 256
    assert len([op for op in made.operators if op.kind == "smoothing"]) == 10
    assert report.bytes - bare.bytes == 10 * 3
    assert report.bitops_linear == bare.bitops_linear


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_measured_grids_are_those_that_follow_from_the_formats(transformer, granularity, symmetric):
    group = 8 if granularity == "group" else None
    formats = {
        "weight_format": WeightFormat(granularity=granularity, group=group, symmetric=symmetric),
        "activation_format": ActivationFormat(granularity="tensor"),
    }
    groups = layer_groups(transformer)
    one = StepRanges(torch.tensor([5]), torch.tensor([-1.0]), torch.tensor([2.0]))
    ranges = {layer: one for g in groups for layer in g.layers}
    storage = quantized(transformer, static_ranges=ranges, **formats).storage
    transformer = tiny_transformer()
    allocation = uniform_allocation(groups, W4A4, W8A8)
    derived = count(transformer, groups, allocation, CountOptions(**formats))
    assert len(storage) == 14
    measured = CountOptions(**formats, storage=storage)
    assert count(transformer, groups, allocation, measured) == derived
    few = all(op.zero_bytes == 1 for op in derived.operators if op.searchable)
    assert few == symmetric  # the static activation has one of its own


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"changes": {"blocks.0.mlp.upp": W4A4}}, BenchError, "mlp.upp'.*'blocks.0.mlp.up'"),
        (
            {"weight_format": WeightFormat(granularity="group", group=5)},
            BenchError,
            "layer transformer_blocks.0.norm1.linear: group 5 .* width 16",
        ),
        (
            {"activation_format": ActivationFormat(granularity="token-group", group=5)},
            BenchError,
            "layer transformer_blocks.0.norm1.linear: group 5 .* width 16",
        ),
        ({"adaln": FULL, "rounding": Odd()}, BenchError, "4 bits hold -8 to 7"),
        ({"broken": np.inf}, Diverged, r"transformer_blocks.1.attn1.to_v"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(transformer, settings, error, sentence):
    value = settings.pop("broken", None)
    if value is not None:
        transformer.transformer_blocks[1].attn1.to_v.weight[0, 0] = value
    before = snapshot(transformer)
    with pytest.raises(error, match=sentence):
        quantized(transformer, **settings)
    assert_untouched(transformer, before)


def test_quantizing_twice_is_refused_and_the_first_stays(transformer):
    groups = layer_groups(transformer)
    allocation = uniform_allocation(groups, W4A4, W8A8)
    with quantized(transformer) as made:
        with pytest.raises(BenchError, match="put the original layers back first"):
            quantize_model(transformer, groups, allocation, quantizer())
        with pytest.raises(BenchError, match="put the original layers back first"):
            count(transformer, groups, allocation, CountOptions(**FORMATS))
        path, layer = next(iter(made.layers.items()))
        assert transformer.get_submodule(path) is layer
