"""Environments in a whole network: what the others do while a group is scored."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from mpqbench.baselines.environments.clean import Clean
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.baselines.transforms.none import NoTransform
from mpqbench.conformance.models import tiny_transformer
from mpqbench.contracts import LayerData
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Precision
from mpqbench.dit.calibration import CalibrationSet
from mpqbench.dit.groups import layer_groups
from mpqbench.methods.treeq.eng import VARIANTS, EnvironmentalNoise
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.build import GroupQuantizer
from mpqbench.quant.ranges import Clock
from mpqbench.search.cells import Cell
from mpqbench.search.setup import build_engine

W3A3, W8A8 = Precision(3, 3), Precision(8, 8)


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


def _settings(transform=None):
    return {
        "transform": transform or NoTransform(),
        "rounding": Nearest(),
        "weight_format": WeightFormat(),
        "activation_format": ActivationFormat(),
        "layer_data": lambda path: LayerData(path, 0, 0, seed=3),
    }


def _builder(transform=None):
    return GroupQuantizer(**_settings(transform), static_ranges={}, clock=Clock(1, 1000))


def _calibration():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(6, 4, 8, 8, generator=generator)
    return CalibrationSet(latents, torch.arange(6) * 150, torch.arange(6) % 4)


def _engine(model, environment):
    def outside(cell, inputs, batch):
        return environment.layer(cell, W3A3, inputs, seed=batch)

    options = {"outside": outside, "adaln": FULL, "batch": 3}
    return build_engine(model, layer_groups(model), _builder(), _calibration(), **options)


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_noise_every_variant_is_clean(model, variant):
    group = layer_groups(model)[1]
    x = torch.randn(4, 16, 16)
    cell = Cell(model, group, _builder())
    layer = EnvironmentalNoise(0.0, variant).layer(cell, W3A3, 2, seed=1)
    assert torch.equal(layer(x), Clean().layer(cell, W3A3, 2, seed=1)(x))


def test_full_noise_is_the_quantized_model(model):
    groups, inputs = layer_groups(model), _calibration()
    chosen = Precision(4, 4)
    name = "blocks.1.attn.out"
    allocation = {g.name: W3A3 if g.searchable else FULL for g in groups} | {name: chosen}
    arguments = (inputs.latents, inputs.times, inputs.classes)
    with torch.inference_mode():
        exact = model(*arguments).sample
        with quantize_model(model, groups, allocation, **_settings()):
            given = model(*arguments).sample
    expected = (given - exact).double().square().flatten(1).mean(1).numpy()
    for variant in ("output", "weight"):
        errors = _engine(model, EnvironmentalNoise(1.0, variant)).errors([{name: chosen}])
        np.testing.assert_allclose(errors[0], expected, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_more_noise_is_more_error(model, variant):
    means = [
        _engine(model, EnvironmentalNoise(noise, variant)).errors([{}]).mean()
        for noise in (0.0, 0.25, 0.5, 1.0)
    ]
    assert means[0] == 0
    assert all(a < b for a, b in pairwise(means))


def test_output_noise_is_a_straight_line(model):
    cell = Cell(model, layer_groups(model)[3], _builder(Hadamard()))
    x = torch.randn(4, 16, 16)
    y, y_q = cell.full(x), cell.at(W3A3)(x)
    layer = EnvironmentalNoise(0.3, "output").layer(cell, W3A3, 2, seed=1)
    torch.testing.assert_close(layer(x), y + 0.3 * (y_q - y))


def test_weight_noise_moves_weight_and_input(model):
    cell = Cell(model, layer_groups(model)[3], _builder(Hadamard()))
    x = torch.randn(4, 16, 16)
    form = cell.at(W3A3)
    moved = form.source.transform.input(x)
    weight = form.unrounded_weight + 0.3 * (form.weight - form.unrounded_weight)
    expected = (moved + 0.3 * (form.source(x) - moved)) @ weight.T + form.bias
    layer = EnvironmentalNoise(0.3, "weight").layer(cell, W3A3, 2, seed=1)
    torch.testing.assert_close(layer(x), expected)


def test_gaussian_noise_has_the_measured_size_and_is_the_same_for_all_candidates(model):
    cell = Cell(model, layer_groups(model)[3], _builder())
    x = torch.randn(200, 16, 16)
    size = (cell.at(W3A3)(x) - cell.full(x)).square().mean().sqrt()
    layer = EnvironmentalNoise(0.5, "gaussian").layer(cell, W3A3, 200, seed=1)
    noise = layer(x) - cell.full(x)
    assert float(noise.square().mean().sqrt()) == pytest.approx(0.5 * float(size), rel=0.02)
    twice = torch.cat([x, x])
    again = layer(twice) - cell.full(twice)
    torch.testing.assert_close(again[:200], noise, rtol=0, atol=1e-5)
    torch.testing.assert_close(again[200:], noise, rtol=0, atol=1e-5)


def test_candidates_see_the_same_gaussian_noise_alone_and_together(model):
    choices = [Precision(2, 3), Precision(4, 4), W8A8]
    candidates = [{"blocks.0.mlp.up": choice} for choice in choices]
    noise = EnvironmentalNoise(1.0, "gaussian")
    together = _engine(model, noise).errors(candidates)
    alone = np.concatenate([_engine(model, noise).errors([each]) for each in candidates])
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_base_of_its_own_takes_the_place_of_the_budgets(model):
    cell = Cell(model, layer_groups(model)[3], _builder())
    x = torch.randn(4, 16, 16)
    layer = EnvironmentalNoise(1.0, base="W8A8").layer(cell, W3A3, 2, seed=1)
    assert torch.equal(layer(x), cell.at(W8A8)(x))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"noise": 1.5}, "between 0 and 1, not 1.5"),
        ({"variant": "outputs"}, "one of output, weight, gaussian"),
        ({"base": "W9A9"}, "weight bits must be"),
    ],
)
def test_bad_parameters_are_one_sentence(parameters, sentence):
    with pytest.raises(BenchError, match=sentence):
        EnvironmentalNoise(**parameters)
