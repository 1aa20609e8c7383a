"""Layers that read one input share its transform and quantization, and nothing stale."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from mpqbench.core.formats import ActivationFormat
from mpqbench.quant.activation import ActivationQuantizer
from mpqbench.quant.linear import QuantizedInput


@dataclass
class _Counting:
    """The identity, counting how often it was asked."""

    calls: list[int] = field(default_factory=list)
    macs_per_token: int = 0
    extra_bits: int = 0

    def weight(self, weight):
        return weight

    def input(self, x):
        self.calls.append(len(x))
        return x


def _source(readers=3):
    transform = _Counting()
    return transform, QuantizedInput(transform, ActivationQuantizer(4, ActivationFormat()), readers)


def _inputs(seed=0):
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(seed))


def test_three_readers_of_one_tensor_compute_once():
    transform, source = _source()
    x = _inputs()
    results = [source(x, reader) for reader in range(3)]
    assert transform.calls == [5]
    assert all(
        torch.equal(result, ActivationQuantizer(4, ActivationFormat())(x)) for result in results
    )


def test_nothing_is_kept_after_the_last_reader():
    _, source = _source()
    x = _inputs()
    for reader in range(3):
        source(x, reader)
    assert source._seen is None
    assert source._value is None


def test_a_reader_that_comes_again_starts_anew():
    transform, source = _source()
    x = _inputs()
    first = source(x, 0).clone()
    x.mul_(-3)  # the same tensor with other numbers
    second = source(x, 0)
    assert len(transform.calls) == 2
    assert not torch.allclose(first, second)


def test_another_tensor_is_never_answered_from_the_first():
    transform, source = _source()
    source(_inputs(0), 0)
    other = source(_inputs(1), 1)
    assert len(transform.calls) == 2
    assert torch.equal(other, ActivationQuantizer(4, ActivationFormat())(_inputs(1)))


def test_a_result_without_a_graph_is_not_given_to_training():
    _, source = _source()
    x = _inputs().requires_grad_()
    with torch.no_grad():
        source(x, 0)
    result = source(x, 1)
    result.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


def test_gradients_of_all_readers_add_up():
    _, source = _source()
    x = _inputs().requires_grad_()
    (source(x, 0) + 2 * source(x, 1) + 3 * source(x, 2)).sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 6.0))
