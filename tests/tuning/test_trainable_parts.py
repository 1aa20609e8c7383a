"""The parts of a layer that are trained, and what they leave behind."""

from contextlib import ExitStack

import pytest
import torch
from tiny_student import quantized_student

from mpqbench.baselines.branches.h_svd import MixedSVD
from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.branches.sparse import Sparse
from mpqbench.contracts import LayerData
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import fake_quantize_dynamic, quantize_weight
from mpqbench.quant.trainable import (
    Free,
    FrozenIntegers,
    ParametrizedLayer,
    RoundedWeight,
    branch_sources,
    integer_range,
    low_rank_adapter,
)

PATH = "transformer_blocks.1.ff.net.0.proj"
FORMATS = {
    "tensor": WeightFormat(granularity="tensor", symmetric=False),
    "channel": WeightFormat(symmetric=False),
    "group": WeightFormat(granularity="group", group=4, symmetric=False),
    "symmetric": WeightFormat(),
    "full": WeightFormat(symmetric="full"),
}


def rounded(name="channel", bits=3):
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    return quantize_weight(weight, FORMATS[name], bits, "layer")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("make", [lambda r: FrozenIntegers(r, True), RoundedWeight])
def test_a_source_begins_at_what_rounding_gave(make, name):
    before = rounded(name)
    source = make(before)
    assert torch.equal(source(), before.dequantize())
    after = source.rounded()
    assert torch.equal(after.integers, before.integers)
    assert after.integers.dtype == torch.int16
    assert torch.equal(after.scale, before.scale)
    assert torch.equal(after.zero, before.zero)


@pytest.mark.parametrize(("name", "grids"), [("tensor", 1), ("channel", 6), ("group", 12)])
def test_only_grids_are_trained_and_the_integers_take_a_byte(name, grids):
    source = FrozenIntegers(rounded(name), zeros=True)
    assert sum(p.numel() for p in source.parameters() if p.requires_grad) == 2 * grids
    assert source.integers.element_size() == 1
    without = FrozenIntegers(rounded(name), zeros=False)
    assert sum(p.numel() for p in without.parameters() if p.requires_grad) == grids


def test_a_symmetric_format_gets_no_zero_points():
    before = rounded("symmetric")
    source = FrozenIntegers(before, zeros=True)
    assert not source.zero.requires_grad
    assert integer_range(before) == (-4, 3)
    assert integer_range(rounded()) == (0, 7)


def test_gradients_of_a_frozen_weight_are_exact():
    before = rounded("group")
    source = FrozenIntegers(before, zeros=True)
    g = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    (source() * g).sum().backward()
    blocks, own = g.view(6, 2, 4), before.integers.view(6, 2, 4) - before.zero[..., None]
    factor = (4 * 7) ** -0.5  # four weights to a scale, integers up to 7
    by_log_scale = factor * before.scale * (blocks * own).sum(-1)
    torch.testing.assert_close(source.scales.log.grad, by_log_scale)
    torch.testing.assert_close(source.zero.grad, -before.scale * blocks.sum(-1))


def test_trained_weights_are_rounded_for_good_as_in_the_forward():
    source = RoundedWeight(rounded("group"))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in (source.latent, source.scales.log):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    assert torch.equal(source.rounded().dequantize(), source())
    lowest, highest = source.rounded().integers.aminmax()
    assert (int(lowest), int(highest)) == (0, 7)


def test_a_layer_is_remade_in_every_forward_and_left_plain(teacher):
    student, quantized = quantized_student(teacher)
    layer = student.layers[PATH]
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(2))
    before, biased = layer(x), layer.bias.clone()
    sources = {
        "weight": FrozenIntegers(student.rounded[PATH], zeros=True),
        "bias": Free(layer.bias),
    }
    with quantized:
        with ParametrizedLayer(layer, sources):
            assert layer.weight is None  # no float weight outlives a forward
            assert torch.equal(layer(x), before)
            assert layer.weight is None
            with torch.no_grad():
                sources["bias"].change.fill_(0.5)
            torch.testing.assert_close(layer(x), before + 0.5)
        torch.testing.assert_close(layer.bias, biased + 0.5)
        torch.testing.assert_close(layer(x), before + 0.5)
    assert not list(layer.parameters())
    assert not any(buffer.requires_grad for buffer in layer.buffers())
    assert not layer._forward_pre_hooks
    assert not layer._forward_hooks


def test_a_failing_forward_leaves_the_layer_whole(teacher):
    student, quantized = quantized_student(teacher)
    layer = student.layers[PATH]
    weight = layer.weight.clone()
    source = FrozenIntegers(student.rounded[PATH], zeros=False)
    with quantized, pytest.raises(RuntimeError), ParametrizedLayer(layer, {"weight": source}):
        layer(torch.zeros(2, 3))  # 3 channels for 16
    assert torch.equal(layer.weight, weight)


def test_an_adapter_changes_nothing_at_first_and_is_seeded(teacher):
    student, quantized = quantized_student(teacher)
    with quantized:
        layer = student.layers[PATH]
        x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(2))
        before = layer(x)
        adapter = low_rank_adapter(layer, 3, seed=7)
        student.add_branch(PATH, adapter)
        assert torch.equal(layer(x), before)
    assert not adapter.dense().any()
    assert sum(p.numel() for p in adapter.parameters()) == adapter.size.numbers == 3 * (16 + 64)
    again, other = (low_rank_adapter(layer, 3, seed) for seed in (7, 8))
    assert torch.equal(adapter.right, again.right)
    assert not torch.equal(adapter.right, other.right)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("branch", [LowRank, MixedSVD, Sparse])
def test_a_branch_is_trained_at_its_own_bits(teacher, branch, bits):
    student, quantized = quantized_student(teacher, branch=branch(bits=bits))
    own = student.branch(PATH)
    names = [name for name, _ in own.named_parameters()]
    before = own.dense().detach().clone()
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(2))
    with quantized, ExitStack() as stack:
        parts = list(branch_sources(own))
        for module, sources in parts:
            stack.enter_context(ParametrizedLayer(module, sources))
        trained = [p for _, sources in parts for s in sources.values() for p in s.parameters()]
        assert sum(p.numel() for p in trained) == own.size.numbers
        optimizer = torch.optim.Adam(trained, lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            own(x).square().mean().backward()
            optimizer.step()
    assert own.dense().square().sum() < before.square().sum()
    assert [name for name, _ in own.named_parameters()] == names
    for parameter in own.parameters():
        assert not parameter.requires_grad
        rows = parameter.flatten(1) if parameter.ndim > 1 else parameter
        on_grid = torch.allclose(fake_quantize_dynamic(rows, 8, True), rows, rtol=1e-5, atol=1e-7)
        assert on_grid == (bits == 8)


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("branch", [Sparse(), LowRank(rank=2), MixedSVD(like_rank=4)])
def test_a_branch_is_trained_under_autocast(branch, given):
    target = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    fitted = branch.fit(target, LayerData("layer", 16, 32)).requires_grad_(True)
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        low = fitted(x.to(given))
    torch.testing.assert_close(low.float(), fitted(x), atol=0.1, rtol=0.05)
    low.float().sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in fitted.parameters())
