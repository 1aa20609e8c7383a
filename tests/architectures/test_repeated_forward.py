"""Many forwards of one DiT, as sampling needs them, against diffusers' own forward."""

import copy
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from tiny_quantizer import quantized
from torch import nn

from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError
from mpqbench.core.protocol import Protocol
from mpqbench.dit import native, products
from mpqbench.dit.architectures import architecture_of
from mpqbench.dit.architectures.dit_forward import KernelChain
from mpqbench.dit.compiling import compiled_forward
from mpqbench.dit.products import Product, prepared


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


def inputs(count=20):
    """Return inputs at three times, so that there are at most twelve pairs of time and class."""
    latents = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return latents, torch.arange(count) % 3 * 300, torch.arange(count) % 4


def stock(model, given):
    with torch.no_grad():
        return model(*given).sample


def repeated(model):
    return architecture_of(model).repeated(model)


@pytest.mark.parametrize("settings", [None, {}, {"transform": Hadamard()}, {"attention_bits": 4}])
def test_outputs_are_those_of_diffusers_bit_for_bit(model, settings):
    if settings is None:
        assert torch.equal(repeated(model)(*inputs()), stock(model, inputs()))
        return
    with quantized(model, **settings):
        assert torch.equal(repeated(model)(*inputs()), stock(model, inputs()))


def test_a_hook_of_the_transformer_is_called_with_all_inputs(model):
    # As the one that tells time-grouped quantizers the time of each input: none may be left out.
    seen: list[torch.Tensor] = []
    rows: list[int] = []
    first = model.transformer_blocks[0].norm1.linear
    handles = [
        model.register_forward_pre_hook(lambda _module, given: seen.append(given[1])),
        first.register_forward_pre_hook(lambda _module, given: rows.append(len(given[0]))),
    ]
    try:
        found = repeated(model)(*inputs())
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(found, stock(model, inputs()))
    assert torch.equal(seen[0], inputs()[1])
    assert rows == [20]


def test_every_pair_of_time_and_class_is_embedded_once(model):
    rows: Counter[int] = Counter()
    handles = [
        block.norm1.emb.register_forward_pre_hook(
            lambda _module, given, at=at: rows.update({at: len(given[0])})
        )
        for at, block in enumerate(model.transformer_blocks)
    ]
    try:
        forward = repeated(model)
        first, again = forward(*inputs()), forward(*inputs(40))
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(first, again[:20])
    assert set(rows) == set(range(len(model.transformer_blocks)))
    assert rows[1] == 12  # of sixty inputs


def test_a_block_that_does_something_else_is_not_passed_over(model):
    block = model.transformer_blocks[0]
    handle = block.register_forward_hook(lambda _module, _given, output: output * 2)
    try:
        found, expected = repeated(model)(*inputs()), stock(model, inputs())
    finally:
        handle.remove()
    assert torch.equal(found, expected)
    assert not torch.equal(found, stock(model, inputs()))


def test_a_product_is_that_of_a_linear_layer_bit_for_bit_whatever_the_other_layout_gives(
    monkeypatch,
):
    layer, x = nn.Linear(48, 40).requires_grad_(False), torch.randn(3, 64, 48)
    expected = F.linear(x, layer.weight, layer.bias)
    with torch.no_grad():
        assert torch.equal(prepared(layer)(x), expected)
        monkeypatch.setattr(Product, "_by_layout", lambda _self, given: torch.zeros(192, 40))
        monkeypatch.setattr(products, "_same", {})
        assert torch.equal(prepared(layer)(x), expected)  # the other layout is found to differ
    assert products._same == {(192, 40, 48, False, 1): False}


def test_a_layer_with_a_hook_keeps_it(model):
    layer = nn.Linear(4, 4)
    handle = layer.register_forward_hook(lambda _module, _given, output: output * 0)
    assert not prepared(layer)(torch.randn(2, 4)).any()
    handle.remove()
    assert isinstance(prepared(layer), Product)


def test_a_protocol_that_compiles_has_another_fingerprint_and_others_keep_theirs():
    usual = Protocol(name="test", images=1, steps=1)
    assert "compiled" not in usual.sampling()
    assert usual.model_copy(update={"compiled": True}).sampling()["compiled"] is True


@pytest.mark.slow
def test_a_compiled_transformer_gives_about_the_same_outputs(model):
    torch.testing.assert_close(compiled_forward(model)(*inputs()), stock(model, inputs()))
    with quantized(model):
        found, expected = compiled_forward(model)(*inputs()), stock(model, inputs())
    # Last bits decide how some inputs are rounded: the error is a small part of the outputs.
    assert (found - expected).square().mean() < 1e-3 * expected.square().mean()


@pytest.mark.skipif(native.library() is None, reason="the kernels were not built")
def test_compiled_kernels_give_about_the_same_outputs(model):
    fused = architecture_of(model).fused(model)
    assert isinstance(fused.chain, KernelChain)
    found, expected = fused(*inputs()), stock(model, inputs())
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    x = torch.linspace(-200, 200, 4000).view(40, 100)[:, :96].contiguous()
    exact = F.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(native.gelu(x).double(), exact, rtol=2e-6, atol=1e-7)


def test_compiled_kernels_that_were_not_built_are_refused(model, monkeypatch):
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(BenchError, match="kernels of mpqbench were not built: install mpqbench ag"):
        architecture_of(model).fused(model)
    assert architecture_of(model).fused(copy.deepcopy(model).double()) is None


def test_a_part_of_a_tensor_is_multiplied_as_the_linear_layer_does(monkeypatch):
    # Image by image, with so few rows that some processors round otherwise than with all rows.
    monkeypatch.setattr(Product, "_is_same", lambda *_: True)
    rng = torch.Generator().manual_seed(2)
    whole, weight, bias = (
        torch.randn(*s, generator=rng) for s in ((16, 24, 192), (192, 192), (192,))
    )
    part = whole[:, 16:]
    with torch.no_grad():
        assert torch.equal(Product(weight, bias)(part), F.linear(part, weight, bias))
