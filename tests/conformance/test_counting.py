"""Counts of executed operations and stored bits, for functions whose counts are known."""

import pytest
import torch

from mpqbench.conformance.counting import information_bits, macs_per_row, read_tensors


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


def test_tensors_that_a_function_reads():
    vector = torch.rand(6)
    (read,) = read_tensors(lambda x: (x * vector + vector).abs(), torch.rand(4, 6))
    assert torch.equal(read, vector)
