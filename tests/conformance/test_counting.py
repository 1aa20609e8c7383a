"""Counts of executed operations and stored bits, for functions whose counts are known."""

import types

import pytest
import torch

from mpqbench.quant.counting import held_tensors, information_bits, macs_per_row


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


def test_tensors_that_a_module_or_an_object_holds():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    module.more = [torch.zeros(3)]
    assert sorted(held.numel() for held in held_tensors(module)) == [2, 3, 4]
    assert held_tensors(types.SimpleNamespace(a=1, b=module[0].bias)) == [module[0].bias]
