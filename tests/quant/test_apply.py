from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from diffusers import DiTTransformer2DModel
from torch import nn

from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.transforms.none import Identity, NoTransform
from mpqbench.conformance.models import tiny_transformer
from mpqbench.contracts import LayerData, QuantizedWeight
from mpqbench.core.errors import BenchError, Diverged
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Precision
from mpqbench.cost.count import count
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.quant.activation import ActivationQuantizer
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.apply import QuantizedModel, quantize_model
from mpqbench.quant.linear import QuantizedInput, QuantizedLinear
from mpqbench.quant.ranges import StepRanges

W4A4 = Precision(4, 4)
W8A8 = Precision(8, 8)


@pytest.fixture
def transformer() -> DiTTransformer2DModel:
    return tiny_transformer()


def _forward(model: nn.Module) -> torch.Tensor:
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1)).to(model.dtype)
    with torch.inference_mode():
        return model(x, timestep=torch.tensor([5, 900]), class_labels=torch.tensor([0, 3])).sample


def _data(name: str) -> LayerData:
    return LayerData(name, 0, 0)


def _apply(model, precision=W4A4, adaln=W8A8, **options) -> QuantizedModel:
    groups = layer_groups(model)
    allocation = dict(uniform_allocation(groups, precision, adaln)) | options.pop("changes", {})
    defaults = {
        "transform": NoTransform(),
        "rounding": Nearest(),
        "weight_format": WeightFormat(),
        "activation_format": ActivationFormat(),
        "layer_data": _data,
    }
    return quantize_model(model, groups, allocation, **(defaults | options))


def _snapshot(model: nn.Module):
    modules = {name: id(module) for name, module in model.named_modules()}
    return modules, {key: value.clone() for key, value in model.state_dict().items()}


def _assert_untouched(model: nn.Module, snapshot) -> None:
    modules, state = snapshot
    assert {name: id(module) for name, module in model.named_modules()} == modules
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@dataclass(frozen=True)
class _FailsLate:
    """Rounds until it meets the layer it cannot do."""

    at: str = "transformer_blocks.1.ff.net.2"

    def round(self, weight, layer, fmt, bits) -> QuantizedWeight:
        if layer.name == self.at:
            raise RuntimeError("no luck")
        return quantize_weight(weight, fmt, bits, layer.name)


@dataclass(frozen=True)
class _Scaled:
    """Weight times ``factor``, input divided by it."""

    factor: float = 4.0
    macs_per_token: int = 16
    extra_bits: int = 20

    def fit(self, weight, layer):
        return self

    def weight(self, weight):
        return weight * self.factor

    def input(self, x):
        return x / self.factor


def test_applied_and_removed_without_a_trace(transformer):
    before, snapshot = _forward(transformer), _snapshot(transformer)
    with _apply(transformer) as quantized:
        assert len(quantized.layers) == 14
        assert not torch.equal(_forward(transformer), before)
    _assert_untouched(transformer, snapshot)
    assert torch.equal(_forward(transformer), before)
    quantized.remove()
    _assert_untouched(transformer, snapshot)


def test_an_error_inside_the_block_still_removes(transformer):
    snapshot = _snapshot(transformer)
    with pytest.raises(KeyError), _apply(transformer):
        raise KeyError
    _assert_untouched(transformer, snapshot)


def test_a_failure_halfway_leaves_the_model_untouched(transformer):
    snapshot = _snapshot(transformer)
    with pytest.raises(RuntimeError, match="no luck"):
        _apply(transformer, rounding=_FailsLate())
    _assert_untouched(transformer, snapshot)


def test_a_failure_while_swapping_is_undone(transformer):
    snapshot = _snapshot(transformer)
    layer = transformer.transformer_blocks[0].norm1.linear
    new = QuantizedLinear(layer, layer.weight, W4A4, QuantizedInput(Identity(), None))
    layers = {"transformer_blocks.0.norm1.linear": new, "no.such": new}
    with pytest.raises(AttributeError):
        QuantizedModel(transformer, layers, {}, ())
    _assert_untouched(transformer, snapshot)


def test_the_swapped_layers_compute_what_they_say(transformer):
    path = "transformer_blocks.0.ff.net.0.proj"
    linear = transformer.get_submodule(path)
    x = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))
    with _apply(transformer) as quantized:
        ours = quantized.layers[path](x)
        assert transformer.get_submodule(path) is quantized.layers[path]
    weight = quantize_weight(linear.weight, WeightFormat(), 4, path).dequantize()
    inputs = ActivationQuantizer(4, ActivationFormat())(x)
    assert torch.allclose(ours, inputs @ weight.T + linear.bias, atol=1e-6)


def test_groups_in_floating_point_are_left_alone(transformer):
    kept = transformer.transformer_blocks[1].attn1.to_q
    with _apply(transformer, adaln=FULL, changes={"blocks.1.attn.qkv": FULL}) as quantized:
        assert len(quantized.layers) == 14 - 2 - 3
        assert transformer.transformer_blocks[1].attn1.to_q is kept


def test_weight_only_and_activation_only(transformer):
    path = "transformer_blocks.0.attn1.to_out.0"
    original = transformer.get_submodule(path)
    with _apply(transformer, Precision(4, None), FULL) as quantized:
        assert quantized.layers[path].activation is None
        assert len(quantized.layers[path].weight[0].unique()) <= 16
    with _apply(transformer, Precision(None, 4), FULL) as quantized:
        assert torch.equal(quantized.layers[path].weight, original.weight)
        assert quantized.layers[path].weight.data_ptr() != original.weight.data_ptr()
        assert quantized.layers[path].activation.bits == 4
        assert quantized.storage[path].scale == 0


def test_eight_bits_are_closer_than_three(transformer):
    exact = _forward(transformer)
    errors = []
    for bits in (8, 3):
        with _apply(transformer, Precision(bits, bits)):
            errors.append(float((_forward(transformer) - exact).square().mean()))
    assert 0 < errors[0] < errors[1] / 10


def test_bfloat16_models_keep_their_type(transformer):
    model = transformer.to(torch.bfloat16)
    snapshot = _snapshot(model)
    with _apply(model) as quantized:
        assert {layer.weight.dtype for layer in quantized.layers.values()} == {torch.bfloat16}
        out = _forward(model)
        assert out.dtype == torch.bfloat16
        assert torch.isfinite(out).all()
    _assert_untouched(model, snapshot)


def test_a_transform_changes_weight_and_input_and_is_counted(transformer):
    path = "transformer_blocks.0.ff.net.2"
    seen = {}

    @dataclass(frozen=True)
    class _Watch:
        def round(self, weight, layer, fmt, bits):
            seen[layer.name] = (weight, layer)
            return quantize_weight(weight, fmt, bits, layer.name)

    def data(name):
        width = transformer.get_submodule(name).in_features
        moment = torch.arange(float(width * width)).view(width, width)
        return replace(_data(name), inputs=torch.ones(2, width), moment=moment + moment.T)

    plain = _apply(transformer)
    reference = _forward(transformer)
    plain.remove()
    with _apply(transformer, transform=_Scaled(), rounding=_Watch(), layer_data=data) as quantized:
        # A power of two commutes with rounding on a min-max grid.
        assert torch.allclose(_forward(transformer), reference, atol=1e-6)
    weight, layer = seen[path]
    assert torch.equal(weight, transformer.get_submodule(path).weight * 4)
    assert torch.equal(layer.inputs, torch.full((2, 64), 0.25))
    assert torch.equal(layer.moment, data(path).moment / 16)
    assert (layer.in_features, layer.out_features, layer.precision) == (64, 16, W4A4)
    operator = next(op for op in quantized.operators if op.name == "blocks.0.mlp.down.transform")
    assert (operator.macs, operator.scale_bytes) == (16 * 16, 3)
    groups = layer_groups(transformer)
    report = count(
        transformer,
        groups,
        uniform_allocation(groups, W4A4, W8A8),
        weight_format=WeightFormat(),
        activation_format=ActivationFormat(),
        storage=quantized.storage,
        extra=quantized.operators,
    )
    bare = replace(report, operators=report.operators[: -len(quantized.operators)])
    assert report.bitops - bare.bitops == sum(op.macs for op in quantized.operators) * 256
    assert len(quantized.operators) == 10  # one for each input: queries, keys, values share one
    assert report.bytes - bare.bytes == 10 * 3
    assert report.bitops_linear == bare.bitops_linear


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
def test_measured_grids_are_those_that_follow_from_the_formats(transformer, granularity, symmetric):
    group = 8 if granularity == "group" else None
    weights = WeightFormat(granularity=granularity, group=group, symmetric=symmetric)
    static = ActivationFormat(granularity="tensor")
    groups = layer_groups(transformer)
    one = StepRanges(torch.tensor([5]), torch.tensor([-1.0]), torch.tensor([2.0]))
    ranges = {layer: one for g in groups for layer in g.layers}
    options = {"weight_format": weights, "activation_format": static}
    with _apply(transformer, **options, static_ranges=ranges) as quantized:
        storage = quantized.storage
    allocation = uniform_allocation(groups, W4A4, W8A8)
    derived = count(transformer, groups, allocation, **options)
    measured = count(transformer, groups, allocation, **options, storage=storage)
    assert len(storage) == 14
    assert measured == derived
    few = all(op.zero_bytes == 1 for op in derived.operators if op.searchable)
    assert few == symmetric  # the static activation has one of its own


def test_allocations_that_do_not_fit_are_refused(transformer):
    snapshot = _snapshot(transformer)
    with pytest.raises(BenchError, match=r"'blocks.0.mlp.upp'.*'blocks.0.mlp.up'"):
        _apply(transformer, changes={"blocks.0.mlp.upp": W4A4})
    with pytest.raises(BenchError, match="lacks group"):
        quantize_model(
            transformer,
            layer_groups(transformer),
            {"blocks.0.mlp.up": W4A4},
            transform=NoTransform(),
            rounding=Nearest(),
            weight_format=WeightFormat(),
            activation_format=ActivationFormat(),
            layer_data=_data,
        )
    _assert_untouched(transformer, snapshot)


def test_group_sizes_that_do_not_divide_are_refused(transformer):
    name = r"layer transformer_blocks.0.norm1.linear: group 5 .* width 16"
    with pytest.raises(BenchError, match=name):
        _apply(transformer, weight_format=WeightFormat(granularity="group", group=5))
    with pytest.raises(BenchError, match=name):
        _apply(transformer, activation_format=ActivationFormat(granularity="token-group", group=5))


def test_quantizing_twice_is_refused_and_the_first_stays(transformer):
    groups = layer_groups(transformer)
    with _apply(transformer) as quantized:
        with pytest.raises(BenchError, match="put the original layers back first"):
            _apply(transformer)
        with pytest.raises(BenchError, match="put the original layers back first"):
            count(
                transformer,
                groups,
                uniform_allocation(groups, W4A4, W8A8),
                weight_format=WeightFormat(),
                activation_format=ActivationFormat(),
            )
        path, layer = next(iter(quantized.layers.items()))
        assert transformer.get_submodule(path) is layer


def test_weights_that_are_not_finite_name_their_layer(transformer):
    transformer.transformer_blocks[1].attn1.to_v.weight[0, 0] = float("inf")
    snapshot = _snapshot(transformer)
    with pytest.raises(Diverged, match=r"transformer_blocks.1.attn1.to_v"):
        _apply(transformer)
    _assert_untouched(transformer, snapshot)


def test_a_rounding_cannot_use_more_bits_than_it_was_given(transformer):
    @dataclass(frozen=True)
    class _Cheat:
        def round(self, weight, layer, fmt, bits):
            return replace(quantize_weight(weight, fmt, 8, layer.name), bits=bits)

    with pytest.raises(BenchError, match=r"asked for 4 bits"):
        _apply(transformer, adaln=FULL, rounding=_Cheat())


def test_a_model_without_weights_is_refused():
    with torch.device("meta"):
        model = DiTTransformer2DModel(num_attention_heads=2, attention_head_dim=8, num_layers=1)
    with pytest.raises(BenchError, match="meta device"):
        _apply(model)
