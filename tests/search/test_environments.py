"""Environments in a whole network: what the others do while a group is scored."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_quantizer import W8A8, calibration, errors, output, quantized, quantizer

from mpqbench.baselines.environments.clean import Clean
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.precision import FULL, Precision
from mpqbench.dit.groups import layer_groups
from mpqbench.methods.treeq.eng import EnvironmentalNoise
from mpqbench.search.engine import Engine
from mpqbench.search.groups import SearchableGroup
from mpqbench.search.setup import EngineSettings

W3A3 = Precision(3, 3)


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


def _group(model, at=3, **plugins):
    return SearchableGroup(model, layer_groups(model)[at], quantizer(**plugins))


def _engine(model, environment):
    def outside(group, inputs, batch):
        return environment.layer(group, W3A3, inputs, seed=batch)

    settings = EngineSettings(outside=outside, batch=3)
    return Engine(model, layer_groups(model), quantizer(), calibration(), settings)


@pytest.mark.parametrize("variant", ["output", "weight", "gaussian"])
def test_without_noise_every_variant_is_clean(model, variant):
    x, group = torch.randn(4, 16, 16), _group(model, 1)
    layer = EnvironmentalNoise(0.0, variant).layer(group, W3A3, 2, seed=1)
    assert torch.equal(layer(x), Clean().layer(group, W3A3, 2, seed=1)(x))


def test_full_noise_is_the_quantized_model(model):
    chosen, name, exact = Precision(4, 4), "blocks.1.attn.out", output(model)
    with quantized(model, W3A3, FULL, changes={name: chosen}):
        expected = errors(model, exact)
    for variant in ("output", "weight"):
        found = _engine(model, EnvironmentalNoise(1.0, variant)).errors([{name: chosen}])
        np.testing.assert_allclose(found[0], expected, rtol=1e-5)


@pytest.mark.parametrize("variant", ["output", "weight", "gaussian"])
def test_more_noise_is_more_error(model, variant):
    means = [
        _engine(model, EnvironmentalNoise(noise, variant)).errors([{}]).mean()
        for noise in (0.0, 0.25, 0.5, 1.0)
    ]
    assert means[0] == 0
    assert all(a < b for a, b in pairwise(means))


def test_output_noise_is_a_straight_line(model):
    group = _group(model, transform=Hadamard())
    x = torch.randn(4, 16, 16)
    y, y_q = group.full(x), group.at(W3A3)(x)
    layer = EnvironmentalNoise(0.3, "output").layer(group, W3A3, 2, seed=1)
    torch.testing.assert_close(layer(x), y + 0.3 * (y_q - y))


def test_weight_noise_moves_weight_and_input(model):
    group = _group(model, transform=Hadamard())
    x = torch.randn(4, 16, 16)
    rounded = group.at(W3A3)
    moved = rounded.source.transform.input(x)
    weight = rounded.unrounded_weight + 0.3 * (rounded.weight - rounded.unrounded_weight)
    expected = (moved + 0.3 * (rounded.source(x) - moved)) @ weight.T + rounded.bias
    layer = EnvironmentalNoise(0.3, "weight").layer(group, W3A3, 2, seed=1)
    torch.testing.assert_close(layer(x), expected)


def test_gaussian_noise_has_the_measured_size_and_is_the_same_for_all_candidates(model):
    group = _group(model)
    x = torch.randn(200, 16, 16)
    size = (group.at(W3A3)(x) - group.full(x)).square().mean().sqrt()
    layer = EnvironmentalNoise(0.5, "gaussian").layer(group, W3A3, 200, seed=1)
    noise = layer(x) - group.full(x)
    assert float(noise.square().mean().sqrt()) == pytest.approx(0.5 * float(size), rel=0.02)
    twice = torch.cat([x, x])
    again = layer(twice) - group.full(twice)
    torch.testing.assert_close(again[:200], noise, rtol=0, atol=1e-5)
    torch.testing.assert_close(again[200:], noise, rtol=0, atol=1e-5)


def test_a_base_of_its_own_takes_the_place_of_the_budgets(model):
    group = _group(model)
    x = torch.randn(4, 16, 16)
    layer = EnvironmentalNoise(1.0, base="W8A8").layer(group, W3A3, 2, seed=1)
    assert torch.equal(layer(x), group.at(W8A8)(x))
