import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mpqbench.baselines.transforms.balance import Balance, rank_correlation
from mpqbench.baselines.transforms.none import Identity
from mpqbench.contracts import LayerData


def _layer(name: str = "blocks.0.attn.qkv", width: int = 12) -> tuple[torch.Tensor, LayerData]:
    generator = torch.Generator().manual_seed(width)
    weight = torch.randn(8, width, generator=generator)
    inputs = torch.randn(5, 20, width, generator=generator) * torch.logspace(-1, 1, width)
    maxima = inputs.abs().amax(1)
    data = LayerData(name, width, 8, inputs=inputs.flatten(0, 1), step_maxima=maxima)
    return weight, data


def _salience(weight: torch.Tensor, data: LayerData) -> torch.Tensor:
    """Weighted maxima of the steps, in float64 and with scipy's correlation."""
    maxima, column = data.step_maxima.double().numpy(), weight.abs().amax(0).double().numpy()
    weights = np.exp([-spearmanr(row, column).statistic for row in maxima])
    return torch.from_numpy(weights / weights.sum() @ maxima).float()


def test_both_saliences_become_their_geometric_mean():
    weight, data = _layer()
    fitted = Balance().fit(weight, data)
    of_input, of_weight = _salience(weight, data), weight.abs().amax(0)
    mean = (of_input * of_weight).sqrt()
    torch.testing.assert_close(of_input / fitted.scale, mean)
    torch.testing.assert_close(fitted.weight(weight).abs().amax(0), mean)


def test_steps_that_go_against_the_weight_count_more():
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    along, against = [1.0, 2.0, 3.0, 4.0], [8.0, 6.0, 4.0, 2.0]
    data = LayerData("layer", 4, 1, step_maxima=torch.tensor([along, against]))
    share = np.e / (np.e + 1 / np.e)  # softmax of (-1, 1)
    expected = torch.tensor(
        [((1 - share) * a + share * b) / w for a, b, w in zip(along, against, along, strict=True)]
    ).sqrt()
    torch.testing.assert_close(Balance().fit(weight, data).scale, expected)


def test_spearman_with_ties_against_scipy():
    rng = np.random.default_rng(1)
    rows, column = rng.integers(0, 4, (5, 40)), rng.integers(0, 4, 40)
    expected = [spearmanr(row, column).statistic for row in rows]
    np.testing.assert_allclose(rank_correlation(rows, column), expected, atol=1e-12)


def test_constant_sides_have_no_correlation():
    rows = np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    assert rank_correlation(rows, np.array([1.0, 2.0, 3.0])) == pytest.approx([1.0, 0.0])
    assert rank_correlation(rows, np.ones(3)).tolist() == [0.0, 0.0]
    assert rank_correlation(rows[:, :1], np.ones(1)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        ("blocks.3.mlp.down", True),
        ("mlp.down", True),
        ("blocks.3.adaln", True),
        ("blocks.3.mlp.up", False),
        ("blocks.3.xmlp.down", False),
    ],
)
def test_the_paper_leaves_some_kinds_alone(name, skipped):
    weight, data = _layer(name)
    assert isinstance(Balance().fit(weight, data), Identity) == skipped
    assert not isinstance(Balance(skip=()).fit(weight, data), Identity)
