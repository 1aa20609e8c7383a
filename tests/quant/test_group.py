"""The quantized group: what it computes, what its slices share, what it costs."""

import pytest
import torch
from tiny_quantizer import W4A4, Scaled, quantizer

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.conformance.models import tiny_transformer
from mpqbench.contracts import GroupAtPrecision
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.dit.groups import layer_groups
from mpqbench.quant.activation import ActivationQuantizer
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.group import QuantizedGroup
from mpqbench.search.groups import SearchableGroup

TOKEN = ActivationQuantizer(4, ActivationFormat())
DTYPES = [torch.float32, torch.bfloat16]


class Watched(Scaled):
    """Counts how often its input was asked for."""

    def __init__(self):
        self.calls = []

    def input(self, x):
        self.calls.append(len(x))
        return super().input(x)


def made(kind="attn.qkv", precision=W4A4, model=None, **plugins) -> QuantizedGroup:
    model = model or tiny_transformer()
    (group,) = [g for g in layer_groups(model) if g.name == f"blocks.0.{kind}"]
    return quantizer(**plugins).quantize(model, group, precision)


def inputs(seed=0, width=16):
    return torch.randn(2, 5, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_and_group_are_the_product_of_quantized_inputs_and_weights(dtype):
    model, x = tiny_transformer().to(dtype), inputs().to(dtype)
    group = made(model=model)
    outputs = []
    for path, layer in group.layers.items():
        original = model.get_submodule(path)
        weight = quantize_weight(original.weight, WeightFormat(), 4, path).dequantize().to(dtype)
        given = TOKEN(x.float()).to(dtype)
        outputs.append(torch.nn.functional.linear(given, weight, original.bias))
        assert torch.equal(layer(x), outputs[-1])
        assert layer(x).dtype == dtype
    assert torch.equal(group(x), torch.cat(outputs, -1))


def test_a_group_owns_its_tensors():
    model = tiny_transformer()
    for precision in (W4A4, Precision(None, 4)):
        group = made(model=model, precision=precision)
        for path, layer in group.layers.items():
            layer.weight.add_(1.0)
            layer.bias.add_(1.0)
            fresh = tiny_transformer().get_submodule(path)
            assert torch.equal(model.get_submodule(path).weight, fresh.weight)
            assert torch.equal(model.get_submodule(path).bias, fresh.bias)


def test_three_readers_of_one_tensor_compute_once_and_keep_nothing():
    watched = Watched()
    group, x = made(transform=watched), inputs()
    watched.calls.clear()
    for layer in group.layers.values():
        layer(x)
    assert watched.calls == [2]
    assert group.source._seen is None
    assert group.source._value is None


def test_no_reader_is_given_the_result_of_another_input():
    group, x, other = made(), inputs(), inputs(seed=1)
    fresh = made()
    query, key, _ = group.layers.values()
    query(x)
    assert torch.equal(key(other), list(fresh.layers.values())[1](other))
    query(x)
    x.mul_(-3)  # the same tensor with other numbers, read again
    assert torch.equal(query(x), next(iter(fresh.layers.values()))(x.clone()))


def test_a_result_without_a_graph_is_not_given_to_training():
    group, x = made(), inputs().requires_grad_()
    query, key, value = group.layers.values()
    with torch.no_grad():
        query(x)
    (query(x) + 2 * key(x) + 3 * value(x)).sum().backward()
    rows = sum(n * own.weight.sum(0) for n, own in ((1, query), (2, key), (3, value)))
    torch.testing.assert_close(x.grad, rows.expand_as(x))  # straight through the quantizer


@pytest.mark.parametrize("branch", [None, LowRank(rank=2)])
def test_a_counted_group_has_all_that_the_contract_names(branch):
    group, x, seen = made("attn.qkv", transform=Hadamard(), branch=branch), inputs(), []
    counted = group.counted(seen.append)
    for name in GroupAtPrecision.__annotations__.keys() | vars(GroupAtPrecision).keys():
        if not name.startswith("_"):
            assert hasattr(counted, name), name
    moved = counted.source.transform.input(x)
    assert torch.equal(counted.branch_output(moved), group.branch_output(moved))
    assert bool(counted.branch_output(moved).any()) == (branch is not None)
    assert torch.equal(counted.unrounded_weight, group.unrounded_weight)
    assert not seen
    assert torch.equal(counted(x), group(x))
    assert seen == [2]


def test_the_cost_is_the_grids_the_transform_and_the_branches():
    group = made(transform=Watched(), branch=LowRank(rank=2, bits=8))
    assert list(group.storage) == list(group.layers) == list(group.integers)
    assert all((own.scale, own.zero) == (16 * 2, 0) for own in group.storage.values())
    smoothing, transform, *branches = group.operators()
    assert (smoothing.kind, smoothing.macs, smoothing.bitops) == ("smoothing", 0, 16 * 16 * 256)
    assert (transform.kind, transform.bitops, transform.scale_bytes) == ("transform", 0, 3)
    assert [op.macs for op in branches] == [2 * 32 * 16] * 3  # q, k and v have their own


def test_a_searched_group_rounds_once_for_all_activation_bits():
    model, asked = tiny_transformer(), []

    class Counting(LowRank):
        def fit(self, target, layer):
            asked.append(layer.name)
            return super().fit(target, layer)

    quantizes = quantizer(branch=Counting(rank=1, iterations=1))
    group = SearchableGroup(model, layer_groups(model)[1], quantizes)
    first, *others = (group.at(Precision(3, bits)) for bits in (3, 4, 8))
    assert len(asked) == 3
    for other in others:
        for own, layer in zip(first.layers.values(), other.layers.values(), strict=True):
            assert own.weight is layer.weight
    group.at(Precision(2, 4))
    assert len(asked) == 6
