import pytest
import torch

from mpqbench.baselines.transforms.hadamard import Hadamard, Rotation
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError
from mpqbench.quant.counting import operations_per_row


def _fit(weight: torch.Tensor, block: int | None = None, seed: int = 0) -> Rotation:
    layer = LayerData("layer", weight.shape[1], weight.shape[0], seed=seed)
    return Hadamard(block).fit(weight, layer)


def _coherence(matrix: torch.Tensor) -> float:
    """Largest entry in units of the root mean square: 1 is perfectly flat."""
    return float(matrix.abs().max() / matrix.square().mean().sqrt())


@pytest.mark.parametrize(
    ("width", "block"),
    [
        *[(width, None) for width in (1, 7, 30, 64, 104, 128, 512, 1152, 4608)],
        *[(12, 1), (72, 12), (128, 16), (1152, 128)],
    ],
)
def test_output_is_unchanged(width, block):
    generator = torch.Generator().manual_seed(width)
    weight, x = torch.randn(9, width, generator=generator), torch.randn(2, 5, width)
    fitted = _fit(weight, block)
    output, expected = fitted.input(x) @ fitted.weight(weight).T, x @ weight.T
    assert fitted.input(x).dtype == torch.float32
    assert (output - expected).norm() <= 1e-5 * expected.norm()
    # What is online only adds: the length grows, and the weight is divided by the order.
    grown = x.norm(dim=-1) * fitted.block**0.5
    torch.testing.assert_close(fitted.input(x).norm(dim=-1), grown)


@pytest.mark.parametrize(("width", "additions"), [(128, 7), (1152, 5 + 36), (4608, 7 + 36)])
def test_a_rotation_costs_the_additions_of_the_fast_product(width, additions):
    """128 has 7 stages; 1152 is 32 times 36 and 4608 is 128 times 36, a matrix of signs."""
    operations = Hadamard().size("layer", width).rotation
    assert (operations.multiplications, operations.additions) == (0, additions * width)
    executed = operations_per_row(_fit(torch.ones(1, width)).input, torch.rand(8, width))
    assert executed == (0, additions * width)
    assert operations.bitops == additions * width * 16


@pytest.mark.parametrize("width", [128, 1152])
def test_an_outlier_channel_spreads(width):
    x = torch.randn(64, width, generator=torch.Generator().manual_seed(0))
    x[:, 3] *= 1000
    assert _coherence(_fit(torch.ones(1, width)).input(x)) < 6 < _coherence(x)


def test_a_whole_block_mixes_all_channels_and_a_smaller_one_only_its_own():
    assert (_fit(torch.eye(1152)).weight(torch.eye(1152)) != 0).all()
    mixed = _fit(torch.eye(104)).weight(torch.eye(104)) != 0  # 104 = 8 * 13
    assert torch.equal(mixed, torch.block_diag(*[torch.ones(8, 8)] * 13) != 0)


def test_a_block_that_does_not_divide_names_the_valid_ones():
    with pytest.raises(BenchError, match=r"layer: block 16 .* width 24; valid: 1, 2, 4, 8, 12, 24"):
        _fit(torch.ones(1, 24), 16)
