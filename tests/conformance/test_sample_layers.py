"""What plugins are checked on, and what counts what they do."""

from __future__ import annotations

import itertools

import pytest
import torch

from mpqbench.conformance import checks
from mpqbench.conformance.counting import information_bits, macs_per_row, read_tensors
from mpqbench.conformance.layers import BITS, STEPS, cases, hostile, ordinary
from mpqbench.core.errors import BenchError


def test_every_pair_of_layer_format_and_bits_occurs():
    triples = [(id(c.layer), c.fmt, c.bits) for c in cases(quick=False)]
    kinds = {(fmt.granularity, fmt.symmetric) for _, fmt, _ in triples}
    assert len(kinds) == 6
    plain = {(layer, (f.granularity, f.symmetric), bits) for layer, f, bits in triples}
    for one, other in itertools.combinations(range(3), 2):
        values = [{t[one] for t in plain}, {t[other] for t in plain}]
        assert {(t[one], t[other]) for t in plain} == set(itertools.product(*values))


def test_the_quick_cases_have_each_layer_once_and_everything_else():
    quick = cases(quick=True)
    assert len(quick) == len({id(case.layer) for case in quick}) == 13
    assert {case.bits for case in quick} == set(BITS)
    assert len({(case.fmt.granularity, case.fmt.symmetric) for case in quick}) == 6
    assert set(quick) <= set(cases(quick=False))


@pytest.mark.parametrize("layer", [*hostile(), ordinary(20, 36)], ids=lambda layer: layer.name)
def test_the_data_of_a_layer_agree_with_each_other(layer):
    assert layer.weight.isfinite().all()
    data = layer.data(needs_inputs=True, bits=3)
    assert data.moment.isfinite().all()
    x = data.inputs.double()
    expected = torch.stack([torch.outer(row, row) for row in x]).mean(0)
    assert torch.allclose(data.moment.double(), expected, rtol=1e-6)
    for index, step in enumerate(STEPS):
        assert data.steps[index] == step
        largest = data.inputs[data.times == step].abs().amax(0)
        assert torch.equal(data.step_maxima[index], largest)
    assert (data.precision.weight, data.in_features) == (3, layer.width)
    assert layer.data(needs_inputs=False).inputs is None


def test_ordinary_inputs_are_correlated():
    x = ordinary(10, 144).inputs
    neighbours = torch.corrcoef(x.T).diagonal(1)
    assert neighbours.mean() > 0.5


@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x: x, 0),
        (lambda x: x[:, [1, 0, 2, 3, 4, 5]].reshape(-1, 2, 3).transpose(1, 2), 0),
        (lambda x: x / torch.arange(1.0, 7), 6),
        (lambda x: x * 2 - x, 12),
        (lambda x: x @ torch.ones(6, 4), 24),
        (lambda x: torch.nn.functional.linear(x, torch.ones(5, 6), torch.ones(5)), 30),
        (lambda x: torch.einsum("nbi,ij->nbj", x.reshape(-1, 2, 3), torch.ones(3, 3)), 18),
        (lambda x: x.sum(1), 6),
        (lambda x: torch.add(x[:, :3], x[:, 3:], out=torch.empty(len(x), 3)), 3),
    ],
)
def test_macs_of_a_row(function, macs):
    assert macs_per_row(function, torch.rand(64, 6)) == macs


def test_what_is_read_is_seen_wherever_it_is_kept():
    vector, unread = torch.rand(6), torch.rand(6)
    found = read_tensors(lambda x: (x * vector + vector).abs(), torch.rand(4, 6))
    assert [torch.equal(tensor, vector) for tensor in found] == [True]
    assert not any(torch.equal(tensor, unread) for tensor in found)


@pytest.mark.parametrize(
    ("tensor", "bits"),
    [
        (torch.tensor([0.5, -0.5, 0.5]), 3),
        (torch.tensor([0.5, -0.5, 0.25]), 48),
        (torch.tensor([True, False]), 2),
        (torch.arange(12), 48),
        (torch.ones(1).expand(100), 1),
    ],
)
def test_bits_that_a_tensor_takes(tensor, bits):
    assert information_bits(tensor) == bits


def test_only_kinds_that_can_be_checked():
    with pytest.raises(BenchError, match="unknown kind of plugin to check 'roundng'; did you mean"):
        checks("roundng", object())
