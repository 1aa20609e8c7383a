"""Precisions with a group size: how they read, what they take, and what they compute."""

import numpy as np
import pytest
import torch
from counted import counted_problem
from tiny_quantizer import FORMATS, W8A8, calibration, errors, output, quantized, quantizer

from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.searchers.uniform import Uniform
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.baselines.transforms.none import NoTransform
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.cost.count import CountOptions, count
from mpqbench.dit.groups import layer_groups
from mpqbench.search.engine import Engine
from mpqbench.search.groups import SearchableGroup
from mpqbench.search.setup import EngineSettings

CHOICES = [Precision.parse(text) for text in ("W4A8g16", "W4A8g8", "W4A8g4", "W4A8")]


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


def _whole(model, own):
    return {g.name: own.get(g.name, W8A8) for g in layer_groups(model)}


def _mixed(model, texts=("W4A8g4", "W3A8g16", "W4A8", "W16A4g8")):
    names = [group.name for group in layer_groups(model) if group.searchable]
    return {name: Precision.parse(texts[at % len(texts)]) for at, name in enumerate(names)}


def test_precisions_have_an_order_coarse_grids_first():
    texts = ["W3A8g32", "W4A4", "W4A8-", "W4A8", "W4A8g128", "W4A8g64", "W4A16", "FP"]
    precisions = [Precision.parse(text) for text in texts]
    rng = np.random.default_rng(0)
    for _ in range(5):
        shuffled = [precisions[at] for at in rng.permutation(len(precisions))]
        assert sorted(shuffled) == precisions
    assert Precision(4, 4) <= Precision(4, 4) < Precision(4, 4, 8)


def test_bytes_of_mixed_groups_by_hand(model):
    own = _mixed(model)
    report = count(model, layer_groups(model), _whole(model, own), CountOptions(**FORMATS))
    plain = count(model, layer_groups(model), _whole(model, {}), CountOptions(**FORMATS))
    scales = {4: 4, 16: 1, None: 1}  # of a row of 16 columns
    for group in layer_groups(model):
        for path in group.layers:
            layer = model.get_submodule(path)
            (row,) = [op for op in report.operators if op.name == path]
            precision = own.get(group.name, W8A8)
            out, columns = layer.weight.shape
            grids = out * scales[precision.group] * columns // 16 if precision.weight else 0
            if precision.group is None and precision.weight:
                grids = out
            size = out * columns * precision.weight_bits // 8 + 2 * grids + 2 * out
            assert row.bytes == size
            assert row.bitops == row.macs * precision.weight_bits * precision.activation_bits
    assert report.macs == plain.macs


@pytest.mark.parametrize("transform", [NoTransform(), Hadamard()], ids=["none", "hadamard"])
def test_a_search_computes_what_the_quantized_model_does(model, transform):
    given, own, inputs = quantizer(transform=transform), _mixed(model), calibration(4)
    settings = EngineSettings(adaln=W8A8, batch=4)
    engine = Engine(model, layer_groups(model), given, inputs, settings)
    exact = output(model, inputs)
    with quantized(model, given=given, changes=own) as made:
        expected = errors(model, exact, inputs)
    np.testing.assert_allclose(engine.errors([own])[0], expected, rtol=1e-5)
    whole = layer_groups(model), _whole(model, own)
    measured = count(model, *whole, CountOptions(**FORMATS, storage=made.storage))
    assert measured.bytes == count(model, *whole, CountOptions(**FORMATS)).bytes


def test_a_group_is_the_recipe_s_own_format_of_that_size(model):
    (group,) = [g for g in layer_groups(model) if g.name == "blocks.1.mlp.down"]
    x = torch.randn(2, 16, 64, generator=torch.Generator().manual_seed(1))
    seen = []
    for size in (4, 16, 64):
        formats = {
            "weight_format": WeightFormat(granularity="group", group=size),
            "activation_format": ActivationFormat(granularity="token-group", group=size),
        }
        expected = SearchableGroup(model, group, quantizer(**formats)).at(Precision(4, 8))(x)
        searched = SearchableGroup(model, group, quantizer())
        searched.at(Precision(4, 8))  # another grid at the same bits must not be taken for this one
        given = searched.at(Precision(4, 8, size))(x)
        torch.testing.assert_close(given, expected, rtol=0, atol=0)
        seen.append(expected)
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("text", ["W4A8g5", "W16A8g5"])
def test_a_size_that_does_not_divide_names_the_layer(model, text):
    precision = Precision.parse(text)
    sentence = r"layer transformer_blocks.0.attn1.to_q: group 5 does not divide its width 16; valid"
    with pytest.raises(BenchError, match=sentence):
        quantized(model, precision, FULL)
    with pytest.raises(BenchError, match=sentence):
        quantizer().prepare(model, layer_groups(model)[1], precision)


def test_whole_blocks_take_one_size(model):
    class Blocks(Nearest):
        by_block = True

    settings = {"rounding": Blocks(), "block_inputs": lambda _: None}
    with pytest.raises(BenchError, match=r"transformer_blocks.0: a rounding of whole blocks takes"):
        quantized(model, changes=_mixed(model), **settings)


def test_two_measures_bound_a_search_over_sizes():
    model = tiny_transformer("meta")
    groups = layer_groups(model)
    sizes = {}
    for precision in CHOICES:
        whole = {g.name: precision if g.searchable else FULL for g in groups}
        sizes[precision] = count(model, groups, whole, CountOptions(**FORMATS)).bytes
    assert sizes[CHOICES[0]] < sizes[CHOICES[1]] < sizes[CHOICES[2]]
    budget = Budget.parse(f"W4A8+{sizes[CHOICES[1]] / 1e6}MB")
    problem = counted_problem(model, groups, budget, CHOICES)
    own = problem.choices(problem.groups[0])
    assert [str(p) for p in own] == ["W4A8", "W4A8g16", "W4A8g8", "W4A8g4"]  # cheapest first
    for precision in CHOICES:
        uniform = dict.fromkeys(problem.groups, precision)
        assert problem.fits(uniform) == (sizes[precision] <= sizes[CHOICES[1]])
    groups_only = counted_problem(model, groups, budget, CHOICES[:3])
    assert set(Uniform().search(groups_only).values()) == {CHOICES[1]}  # the finest that fits
