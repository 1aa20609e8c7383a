import pytest
import torch

from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.baselines.transforms.smooth import smoothing
from mpqbench.baselines.transforms.static_dynamic import StaticDynamic
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError


def _layer(width: int = 24) -> tuple[torch.Tensor, LayerData]:
    generator = torch.Generator().manual_seed(width)
    weight = torch.randn(8, width, generator=generator)
    inputs = torch.randn(4, 10, width, generator=generator)
    inputs = inputs * torch.rand(4, 1, width, generator=generator).mul(4).exp()
    maxima = inputs.abs().amax(1)
    steps = torch.tensor([900, 600, 300, 0])
    data = LayerData(
        "layer", width, 8, inputs=inputs.flatten(0, 1), step_maxima=maxima, steps=steps, seed=5
    )
    return weight, data


@pytest.mark.parametrize("noisiest", [1, 2, 4])
def test_scales_by_the_noisiest_steps_and_then_rotates(noisiest):
    weight, data = _layer()
    fitted = StaticDynamic(0.7, noisiest).fit(weight, data)
    largest = data.inputs.reshape(4, 10, 24)[:noisiest].abs().amax((0, 1))
    scale = smoothing(weight, largest, 0.7).scale
    rotation = Hadamard().fit(weight, data)
    assert torch.equal(fitted.input(data.inputs), rotation.input(data.inputs / scale))
    assert torch.equal(fitted.weight(weight), rotation.weight(weight * scale))
    assert fitted.macs_per_token == 24 + rotation.macs_per_token
    assert fitted.extra_bits == 16 * 24 + 24


def test_more_steps_than_calibrated_names_both_numbers():
    weight, data = _layer()
    with pytest.raises(BenchError, match=r"layer: noisiest is 5 .* only 4 steps"):
        StaticDynamic(noisiest=5).fit(weight, data)
