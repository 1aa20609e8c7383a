"""Counts of executed operations and stored bits, for functions whose counts are known."""

import types

import pytest
import torch

from mpqbench.quant.counting import held_tensors, information_bits, operations_per_row


@pytest.mark.parametrize(
    ("function", "multiplications", "additions"),
    [
        (lambda x: x, 0, 0),
        (lambda x: x[:, [1, 0, 2, 3, 4, 5]].reshape(-1, 2, 3).transpose(1, 2), 0, 0),
        (lambda x: x / torch.arange(1.0, 7), 6, 0),
        (lambda x: x * 2 - x, 6, 6),
        (lambda x: torch.add(x, x, alpha=2), 6, 0),
        (lambda x: x @ torch.full((6, 4), 2.0), 24, 0),
        (lambda x: x @ torch.ones(6, 4), 0, 24),
        (lambda x: -x * torch.tensor([1.0, -1, 1, 1, -1, 1]), 0, 0),
        (lambda x: torch.nn.functional.linear(x, torch.rand(5, 6), torch.rand(5)), 30, 0),
        (lambda x: torch.einsum("nbi,ij->nbj", x.reshape(-1, 2, 3), torch.rand(3, 3)), 18, 0),
        (lambda x: x.sum(1), 0, 6),
        (lambda x: x.exp(), 6, 0),
        (lambda x: torch.add(x[:, :3], x[:, 3:], out=torch.empty(len(x), 3)), 0, 3),
    ],
)
def test_operations_of_a_row(function, multiplications, additions):
    found = operations_per_row(function, torch.rand(64, 6))
    assert found == (multiplications, additions)
    with torch.inference_mode():  # in which a product arrives as `matmul` or `einsum`
        assert operations_per_row(function, torch.rand(64, 6)) == found


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
