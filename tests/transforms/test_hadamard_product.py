import pytest
import scipy.linalg
import torch

from mpqbench.quant.hadamard import SMALL_ORDERS, hadamard_product, paley


def _ones(width: int) -> torch.Tensor:
    return torch.ones(width)


@pytest.mark.parametrize("order", SMALL_ORDERS)
def test_small_orders_are_hadamard_matrices(order):
    matrix = paley(order)
    assert set(matrix.flatten().tolist()) == {-1.0, 1.0}
    assert torch.equal(matrix @ matrix.T, order * torch.eye(order))


@pytest.mark.parametrize("order", [1, 2, 4, 16, 128])
@pytest.mark.parametrize("blocks", [1, 3])
def test_powers_of_two_against_scipy(order, blocks):
    x = torch.randn(5, blocks * order, generator=torch.Generator().manual_seed(order))
    dense = torch.from_numpy(scipy.linalg.hadamard(order)).float()
    expected = x @ torch.block_diag(*[dense] * blocks)
    ours = hadamard_product(x, _ones(blocks * order), order, None)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("small", [12, 28, 36])
@pytest.mark.parametrize("power", [1, 2, 8])
@pytest.mark.parametrize("blocks", [1, 2])
def test_products_with_a_small_order_against_the_dense_matrix(small, power, blocks):
    generator = torch.Generator().manual_seed(small)
    x = torch.randn(3, 2, blocks * power * small, generator=generator)
    signs = torch.randn(x.shape[-1], generator=generator)
    sylvester = torch.from_numpy(scipy.linalg.hadamard(power)).float()
    block = torch.kron(sylvester, paley(small))
    expected = (x * signs) @ torch.block_diag(*[block] * blocks)
    ours = hadamard_product(x, signs, power, paley(small))
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("power", "small"), [(8, None), (2, 12), (1, 12), (1, None)])
def test_gradients_are_those_of_the_dense_product(power, small):
    matrix = None if small is None else paley(small).double()
    width = 2 * power * (small or 1)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(3, width, dtype=torch.float64, generator=generator, requires_grad=True)
    signs = torch.randn(width, dtype=torch.float64, generator=generator)
    kept = x.detach().clone()

    def product(rows):
        return hadamard_product(rows, signs, power, matrix)

    assert torch.autograd.gradcheck(product, (x,))
    assert torch.autograd.gradgradcheck(product, (x,))
    assert torch.equal(x.detach(), kept)
