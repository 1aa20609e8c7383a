import pytest
import torch

from mpqbench.baselines.transforms.hadamard import Hadamard, Rotation
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError


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
    torch.testing.assert_close(fitted.input(x).norm(dim=-1), x.norm(dim=-1))


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
