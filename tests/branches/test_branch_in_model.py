"""Branches in a whole model: fitted, counted, searched with, and taken out again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from calibration import Calibration

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.branches.none import NoBranch
from mpqbench.baselines.objectives.hessian import HessianTrace
from mpqbench.baselines.roundings.adaround import AdaRound
from mpqbench.baselines.roundings.gptq import GPTQ
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.baselines.transforms.none import NoTransform
from mpqbench.conformance.models import tiny_transformer
from mpqbench.contracts import BranchSize
from mpqbench.core.errors import BenchError, Diverged
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.cost.count import count
from mpqbench.dit.calibration import CalibrationSet
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.methods.treeq.eng import EnvironmentalNoise
from mpqbench.methods.treeq.gmb import Monarch
from mpqbench.quant.activation import ActivationQuantizer
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.apply import quantize_model
from mpqbench.quant.branch import branch_operators, squared_error
from mpqbench.quant.build import GroupQuantizer
from mpqbench.quant.ranges import Clock
from mpqbench.search.budget_costs import measures
from mpqbench.search.problem import Problem
from mpqbench.search.setup import build_engine

W3A4, W8A8 = Precision(3, 4), Precision(8, 8)
FORMATS = {"weight_format": WeightFormat(), "activation_format": ActivationFormat()}
BRANCHES = [
    LowRank(rank=2),
    LowRank(rank=2, bits=8, weighted=True),
    Monarch(grid=(4, 2), permutation="spread", init="residual"),
]


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


@pytest.fixture(scope="module")
def known(model):
    return Calibration(model, layer_groups(model))


def _inputs(count=4):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(count, 4, 8, 8, generator=generator)
    return latents, torch.arange(count) * 150, torch.arange(count) % 3


def _settings(known, branch, transform=None, rounding=None):
    return {
        "transform": transform or NoTransform(),
        "rounding": rounding or Nearest(),
        "branch": branch,
        "layer_data": known.layer,
        **FORMATS,
    }


def _quantized(model, known, branch, precision=W3A4, **plugins):
    groups = layer_groups(model)
    allocation = uniform_allocation(groups, precision, W8A8)
    settings = _settings(known, branch, **plugins)
    return quantize_model(model, groups, allocation, block_inputs=known.block, **settings)


def test_a_layer_is_the_sum_of_both_paths(model, known):
    path = "transformer_blocks.1.ff.net.0.proj"
    original, x = model.get_submodule(path), torch.randn(2, 5, 16)
    for branch in BRANCHES:
        with _quantized(model, known, branch, transform=Hadamard()) as quantized:
            layer = quantized.layers[path]
            moved = layer.transform.input(x)
            weight = layer.transform.weight(original.weight)
            dense, rest = layer.branch.dense(), layer.weight
            coarse = ActivationQuantizer(4, ActivationFormat())(moved)
            fine = ActivationQuantizer(8, ActivationFormat())(moved)
            beside = layer.branch(fine) if branch.bits == 8 else moved @ dense.T
            expected = coarse @ rest.T + beside + original.bias
            torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)
            again = quantize_weight(weight - dense, WeightFormat(), 3, path).dequantize()
            torch.testing.assert_close(rest, again)
            alone = quantize_weight(weight, WeightFormat(), 3, path).dequantize()
            moment = known.layer(path).moment
            moment = layer.transform.input(layer.transform.input(moment).T.contiguous())
            errors = [squared_error(own - weight, moment) for own in (rest + dense, alone)]
            assert errors[0] < errors[1]


def test_removal_leaves_no_trace(model, known):
    before = {name: id(module) for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        output = model(*_inputs()).sample
        with _quantized(model, known, BRANCHES[0]):
            changed = model(*_inputs()).sample
        assert not torch.equal(changed, output)
        assert torch.equal(model(*_inputs()).sample, output)
    assert {name: id(module) for name, module in model.named_modules()} == before
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_nothing_is_added_where_nothing_is_lost(model, known):
    precise = tiny_transformer()
    for group in layer_groups(precise):
        for path in group.layers:
            weight = precise.get_submodule(path).weight
            weight.copy_(quantize_weight(weight, WeightFormat(), 3, path).dequantize())
    for branch in BRANCHES:
        with _quantized(precise, known, branch) as quantized:
            assert all(layer.branch is None for layer in quantized.layers.values())
            assert not quantized.operators


def test_who_gets_a_branch(model, known):
    groups = layer_groups(model)
    mixed = [FULL, Precision(None, 4), Precision(3, None), W3A4]
    allocation = {
        group.name: W8A8 if not group.searchable else mixed[at % 5 - 1]
        for at, group in enumerate(groups)
    }
    with quantize_model(model, groups, allocation, **_settings(known, BRANCHES[0])) as quantized:
        for group in groups:
            expected = group.searchable and allocation[group.name].weight == 3
            for path in group.layers:
                branch = getattr(quantized.layers.get(path), "branch", None)
                assert (branch is not None) == expected, path
    with _quantized(model, known, NoBranch()) as quantized:
        assert all(layer.branch is None for layer in quantized.layers.values())
        assert not quantized.operators


def test_q_k_and_v_have_branches_of_their_own(model, known):
    with _quantized(model, known, BRANCHES[0]) as quantized:
        paths = [path for path in quantized.layers if ".0.attn1.to_" in path]
        dense = [quantized.layers[path].branch.dense() for path in paths[:3]]
        assert [tuple(own.shape) for own in dense] == [(16, 16)] * 3
        assert not torch.equal(dense[0], dense[1])
        assert not torch.equal(dense[1], dense[2])


def test_cost_by_hand(model, known):
    groups = layer_groups(model)
    branch = LowRank(rank=2, bits=8)
    with _quantized(model, known, branch) as quantized:
        pass
    allocation = uniform_allocation(groups, W3A4, W8A8)
    report = count(model, groups, allocation, extra=quantized.operators, **FORMATS)
    plain = count(model, groups, allocation, **FORMATS)
    # Two blocks of width 16 on 16 tokens: q, k, v and out are 16 x 16, the MLP is 64 wide.
    numbers = 2 * 2 * (4 * (16 + 16) + 2 * (16 + 64))
    scales = 2 * 6 * 4 * 2
    assert report.branch_bitops == numbers * 16 * 64
    assert report.branch_bytes == numbers + scales
    assert report.bitops - plain.bitops == report.branch_bitops
    assert report.bytes - plain.bytes == report.branch_bytes
    assert report.bitops_linear == plain.bitops_linear
    assert len([op for op in report.operators if op.kind == "branch"]) == 12
    planned = branch_operators(branch, model, groups)
    assert [op for own in planned.values() for op in own] == list(quantized.operators)


@pytest.mark.parametrize("budget", ["W4A4", "W4A4+0.0195MB", "0.0193MB", "3.5b"])
def test_what_fits_is_what_is_satisfied(model, known, budget):
    groups, branch, budget = layer_groups(model), LowRank(rank=1, bits=8), Budget.parse(budget)
    choices = [Precision(w, a) for w in (None, 2, 3, 4) for a in (3, 4)]
    names = [group.name for group in groups if group.searchable]
    planned = branch_operators(branch, model, groups)
    rng, seen = np.random.default_rng(0), set()
    for inside, beside in ((True, planned), (False, {})):
        own = measures(model, groups, budget, choices, adaln=W8A8, branches=beside, **FORMATS)
        problem = Problem(names, dict.fromkeys(names, choices), own, budget)
        for _ in range(60):
            part = choices[int(rng.integers(7)) :]
            drawn = {name: part[rng.integers(len(part))] for name in names}
            whole = drawn | {g.name: W8A8 for g in groups if not g.searchable}
            extra = [
                op for name, p in drawn.items() if p.weight is not None for op in planned[name]
            ]
            report = count(model, groups, whole, extra=extra, **FORMATS)
            assert problem.fits(drawn) == report.satisfied(budget, inside)
            seen.add((inside, problem.fits(drawn)))
    assert len(seen) >= 3


@pytest.mark.parametrize("rounding", [Nearest(), GPTQ()], ids=["nearest", "gptq"])
@pytest.mark.parametrize("branch", BRANCHES, ids=str)
def test_a_search_scores_what_will_be_quantized(model, known, branch, rounding):
    settings = _settings(known, branch, Hadamard(), rounding)
    build = GroupQuantizer(**settings, static_ranges={}, clock=Clock(1, 1000))
    inputs = CalibrationSet(*_inputs())
    engine = build_engine(model, layer_groups(model), build, inputs, adaln=W8A8, batch=4)
    rng = np.random.default_rng(1)
    choices = [Precision(w, a) for w in (2, 3, None) for a in (4, 6)]
    for _ in range(2):
        own = {group: choices[rng.integers(len(choices))] for group in engine.groups}
        whole = {g.name: own.get(g.name, W8A8) for g in layer_groups(model)}
        with torch.inference_mode():
            exact = model(*_inputs()).sample
            with quantize_model(model, layer_groups(model), whole, **settings):
                given = model(*_inputs()).sample
        expected = (given - exact).double().square().flatten(1).mean(1)
        np.testing.assert_allclose(engine.errors([own])[0], expected, rtol=1e-6)


@dataclass(frozen=True)
class _Counting:
    """A branch that counts its fits."""

    fits: list

    def size(self, out_features, in_features):
        return LowRank(rank=1).size(out_features, in_features)

    def fit(self, target, layer):
        self.fits.append(layer.name)
        return LowRank(rank=1).fit(target, layer)


def test_branches_are_fitted_once_for_all_activation_bits(model, known):
    counting = _Counting([])
    build = GroupQuantizer(**_settings(known, counting), static_ranges={}, clock=Clock(1, 1000))
    inputs = CalibrationSet(*_inputs())
    engine = build_engine(model, layer_groups(model), build, inputs, batch=4)
    cell = engine.cells["blocks.0.attn.qkv"]
    forms = [cell.at(Precision(3, bits)) for bits in (3, 4, 8)]
    assert len(counting.fits) == 3  # one round each for q, k and v
    assert forms[0].weight is forms[1].weight is forms[2].weight
    cell.at(Precision(2, 4))
    assert len(counting.fits) == 6


def test_objectives_and_environments_see_the_branch(model, known):
    build = GroupQuantizer(**_settings(known, BRANCHES[0]), static_ranges={}, clock=Clock(1, 1000))
    inputs = CalibrationSet(*_inputs())
    engine = build_engine(model, layer_groups(model), build, inputs, batch=4)
    cell = engine.cells["blocks.1.attn.qkv"]
    form, x = cell.at(W3A4), torch.randn(4, 16, 16)
    moved = form.source.transform.input(x)
    around = form.branch_output(moved)
    torch.testing.assert_close(
        form.unrounded_weight @ moved[0, 0] + around[0, 0], cell.weight @ x[0, 0]
    )
    nearly = EnvironmentalNoise(noise=1e-6, variant="weight").layer(cell, W3A4, 4, 0)
    torch.testing.assert_close(nearly(x), cell.full(x), rtol=1e-4, atol=1e-5)
    whole = EnvironmentalNoise(noise=1.0, variant="weight").layer(cell, W3A4, 4, 0)
    torch.testing.assert_close(whole(x), form(x), rtol=1e-5, atol=1e-6)
    assert HessianTrace  # its weight error is that of weight and basis
    assert (form.weight - form.unrounded_weight).norm() < (form.weight - cell.weight).norm()


def test_a_rounding_of_whole_blocks_leaves_its_rest_to_the_branch(model, known):
    rounding = AdaRound(unit="block", iterations=3)
    with _quantized(model, known, None, rounding=rounding) as quantized:
        alone = {path: layer.weight.clone() for path, layer in quantized.layers.items()}
    branch = LowRank(rank=2)
    with _quantized(model, known, branch, rounding=rounding) as quantized:
        for path, layer in quantized.layers.items():
            assert torch.equal(layer.weight, alone[path])
        path = "transformer_blocks.0.ff.net.2"
        rest = model.get_submodule(path)
        assert rest is quantized.layers[path]
        fitted = quantized.layers[path].branch.dense()
    lost = model.get_submodule(path).weight - alone[path]
    expected = branch.fit(lost, known.layer(path)).dense()
    torch.testing.assert_close(fitted, expected)


def test_gradients_reach_the_branch_and_the_input(model, known):
    for branch in BRANCHES:
        with _quantized(model, known, branch) as quantized:
            layer = quantized.layers["transformer_blocks.0.ff.net.2"]
            layer.branch.requires_grad_(True)
            x = torch.randn(3, 64, requires_grad=True)
            layer(x).square().sum().backward()
            assert x.grad.abs().sum() > 0
            assert all(own.grad.abs().sum() > 0 for own in layer.branch.parameters())


def test_a_branch_that_is_not_what_it_said_is_refused(model, known):
    @dataclass(frozen=True)
    class Larger:
        def size(self, out_features, in_features):
            return LowRank(rank=1).size(out_features, in_features)

        def fit(self, target, layer):
            return LowRank(rank=2).fit(target, layer)

    @dataclass(frozen=True)
    class Odd(Larger):
        def size(self, out_features, in_features):
            return BranchSize(1, 1, bits=4)

    with pytest.raises(BenchError, match=r"to_q: its branch takes BranchSize.*planned BranchSize"):
        _quantized(model, known, Larger())
    with pytest.raises(BenchError, match="a branch has 8 or 16 bits, not 4"):
        _quantized(model, known, Odd())


@pytest.mark.parametrize("rounding", [Nearest(), AdaRound(unit="block", iterations=3)], ids=str)
def test_a_weight_that_is_not_finite_is_named(known, rounding):
    broken = tiny_transformer()
    broken.get_submodule("transformer_blocks.1.ff.net.2").weight[0, 0] = float("nan")
    with pytest.raises(Diverged, match=r"layer transformer_blocks\.1\.ff\.net\.2"):
        _quantized(broken, known, BRANCHES[0], rounding=rounding)
