"""Objectives against the same numbers found another way."""

import numpy as np
import pytest
import torch
from tiny_quantizer import quantizer

from mpqbench.baselines.objectives.fisher import Fisher
from mpqbench.baselines.objectives.hessian import HessianTrace
from mpqbench.baselines.objectives.layer_mse import LayerError
from mpqbench.baselines.objectives.trajectory_frechet import TrajectoryFrechet
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError, Exhausted
from mpqbench.core.precision import Precision
from mpqbench.core.recipe import PluginChoice
from mpqbench.core.registry import discover
from mpqbench.dit.calibration import CalibrationSet
from mpqbench.dit.groups import layer_groups
from mpqbench.search.engine import Engine
from mpqbench.search.network import FullPrecision
from mpqbench.search.scoring import JointScorer
from mpqbench.search.setup import EngineSettings

CHOICES = tuple(Precision(w, a) for w in (2, 4) for a in (3, 8))


@pytest.fixture(scope="module")
def engine():
    model = tiny_transformer()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(6, 4, 8, 8, generator=generator)
    calibration = CalibrationSet(latents, torch.arange(6) * 150, torch.arange(6) % 4)
    settings = EngineSettings(batch=4)
    return Engine(model, layer_groups(model), quantizer(), calibration, settings)


@pytest.fixture(scope="module")
def network(engine):
    return FullPrecision(engine, dict.fromkeys(engine.groups, CHOICES))


def _outputs(engine, batch, replaced=None):
    """Output of a batch; ``replaced`` (stage, tensor) takes the place of a group's output."""
    state = engine.chain.start(batch.latents, batch.conditions)
    for at, name in enumerate(engine.groups):
        layer = engine.searchable[name].full
        if replaced is not None and at == replaced[0]:
            state = engine.chain.run(at, state, batch.conditions, lambda x: replaced[1])
        else:
            state = engine.chain.run(at, state, batch.conditions, layer)
    return engine.chain.finish(state, batch.conditions)


def test_inputs_are_what_the_group_reads(engine, network):
    seen = []
    layer = engine.chain.blocks[1].ff.net[0].proj
    handle = layer.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    model = engine.chain.transformer
    for batch in engine.batches:
        model(batch.latents, batch.times, batch.classes)
    handle.remove()
    torch.testing.assert_close(list(network.inputs("blocks.1.mlp.up")), seen)


@pytest.mark.parametrize("at", [0, 3, 6])
def test_sensitivities_are_derivatives_of_the_projection(engine, network, at):
    (first, *_) = network.sensitivities(1, seed=5)
    batch, one = engine.batches[0], first[at]
    projection = torch.randn(batch.targets.shape, generator=torch.Generator().manual_seed(5))
    output = engine.searchable[one.group].full(one.inputs)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    step = 1e-2
    with torch.no_grad():
        up, down = (
            (_outputs(engine, batch, (at, output + s * direction)).double() * projection).sum()
            for s in (step, -step)
        )
    numeric = float(up - down) / (2 * step)
    assert float((one.gradient * direction).sum()) == pytest.approx(numeric, rel=2e-2, abs=2e-2)


@pytest.mark.parametrize("scale", ["absolute", "relative", "decibel"])
def test_layer_errors_are_local(engine, network, scale):
    table = LayerError(scale).table(network)
    name = "blocks.0.mlp.down"
    x = torch.cat(list(network.inputs(name)))
    cell = engine.searchable[name]
    exact = cell.full(x).double()
    for score, precision in zip(table[name], CHOICES, strict=True):
        noise = (cell.at(precision)(x).double() - exact).square().mean()
        ratio = float(noise / exact.square().mean())
        expected = {"absolute": float(noise), "relative": ratio, "decibel": 10 * np.log10(ratio)}
        assert score == pytest.approx(expected[scale], rel=1e-6)
    assert set(table) == set(engine.groups)


def test_fisher_weighs_errors_by_squared_gradients(engine, network):
    table = Fisher(probes=2, seed=3).table(network)
    name = "blocks.1.attn.out"
    total, outputs = np.zeros(len(CHOICES)), 0
    for found in network.sensitivities(2, 3):
        one = next(each for each in found if each.group == name)
        for index, precision in enumerate(CHOICES):
            cell = engine.searchable[name]
            error = cell.at(precision)(one.inputs) - cell.full(one.inputs)
            total[index] += float((one.gradient * error).square().sum())
        outputs += one.outputs
    np.testing.assert_allclose(table[name], total / outputs, rtol=1e-5)


@pytest.mark.parametrize("name", ["fisher", "hessian", "layer-mse"])
def test_a_table_of_the_last_groups_is_that_part_of_the_whole_table(engine, network, name):
    objective = discover().create("objective", PluginChoice(name=name))
    last = engine.groups[-4:]
    part = objective.table(FullPrecision(engine, dict.fromkeys(last, CHOICES)))
    assert tuple(part) == last
    whole = objective.table(network)
    for group in last:
        np.testing.assert_allclose(part[group], whole[group], rtol=1e-6)


def test_the_trace_is_that_of_the_jacobian_by_the_weight(engine, network):
    name = "blocks.1.mlp.down"
    at = engine.groups.index(name)
    trace, spread = HessianTrace(probes=60).traces(network)[name]
    cell, norms = engine.searchable[name], []
    for batch in engine.batches:
        state = engine.chain.start(batch.latents, batch.conditions)
        for before in range(at):
            layer = engine.searchable[engine.groups[before]].full
            state = engine.chain.run(before, state, batch.conditions, layer)
        x = engine.chain.input(at, state, batch.conditions)
        y = cell.full(x)
        for index in range(len(batch)):

            def output(own, index=index, batch=batch, y=y):
                whole = torch.cat([y[:index], own[None], y[index + 1 :]])
                return _outputs(engine, batch, (at, whole))[index].flatten()

            jacobian = torch.autograd.functional.jacobian(output, y[index])  # (outputs, t, out)
            by_weight = torch.einsum("kto,ti->koi", jacobian, x[index])
            norms.append(float(by_weight.square().sum()))
    assert trace == pytest.approx(np.mean(norms), abs=5 * spread)
    assert spread < 0.2 * trace


def test_hessian_scores_weights_alone(engine, network):
    table = HessianTrace(probes=4).table(network)
    scores = dict(zip(CHOICES, table["blocks.0.mlp.up"], strict=True))
    assert scores[Precision(2, 3)] == scores[Precision(2, 8)]
    assert scores[Precision(2, 8)] > scores[Precision(4, 8)] > 0


def test_an_objective_brings_its_table_and_no_joint_score(engine):
    choices = dict.fromkeys(engine.groups, CHOICES)
    scorer = JointScorer(engine, choices, {}, Fisher(probes=2))
    table, forwards = scorer.table()
    # Two probes: three forwards each, then every layer exactly and at four choices.
    assert forwards == pytest.approx(2 * (3 + 1 + 4))
    assert table["blocks.0.mlp.up"].shape == (4,)
    with pytest.raises(BenchError, match="Fisher scores single groups"):
        scorer.scores([{}])


def test_a_table_that_cannot_be_afforded_ends_the_search_and_not_later(engine):
    choices = dict.fromkeys(engine.groups, CHOICES)
    scorer = JointScorer(engine, choices, {}, Fisher(probes=2))
    _, forwards = scorer.table()
    assert forwards == engine.forwards  # each call counts from zero
    with pytest.raises(Exhausted):
        scorer.table(forwards / 2)
    assert engine.forwards == pytest.approx(0.5 * forwards, abs=0.3 * forwards)
    assert scorer.table(forwards * (1 + 1e-9))[1] == pytest.approx(forwards)  # no limit is left


def _latents(seed, n=400):
    return torch.randn(n, 4, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_a_shift_and_a_shrinking_count_in_full():
    wanted = _latents(0)
    given = torch.stack([wanted + 0.3, 0.5 * wanted, wanted])
    scores = TrajectoryFrechet().distance(given, wanted)
    assert scores.shape == (3, 400)
    assert scores[:, 0] == pytest.approx(scores[:, -1])
    means, spreads = wanted.double().mean(0), wanted.double().std(0, correction=0)
    shrunk = ((0.5 * means) ** 2 + (0.5 * spreads) ** 2).mean()
    assert scores[:, 0].tolist() == pytest.approx([0.09, float(shrunk), 0], rel=1e-5)


def test_another_sample_of_the_same_distribution_is_near_though_every_pair_differs():
    wanted, other = _latents(0), _latents(1)
    near = float(TrajectoryFrechet().distance(other[None], wanted)[0, 0])
    assert near < 0.01 < float((other - wanted).square().mean())
