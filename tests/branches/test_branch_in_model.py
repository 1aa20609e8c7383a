"""Branches in a whole model: fitted, counted, searched with, and taken out again."""

import numpy as np
import pytest
import torch
from calibration import Calibration
from tiny_quantizer import FORMATS, W8A8, calibration, errors, output, quantized, quantizer

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.branches.none import NoBranch
from mpqbench.baselines.roundings.adaround import AdaRound
from mpqbench.baselines.roundings.gptq import GPTQ
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.transforms.hadamard import Hadamard
from mpqbench.conformance.models import tiny_transformer
from mpqbench.contracts import Branch, BranchSize
from mpqbench.core.errors import BenchError, Diverged
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import FULL, Budget, Precision
from mpqbench.cost.count import CountOptions, budget_limit, count
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.methods.treeq.eng import EnvironmentalNoise
from mpqbench.methods.treeq.gmb import Monarch
from mpqbench.quant.activation import ActivationQuantizer
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.branch import squared_error
from mpqbench.quant.planned import PlannedOperators, branch_operators
from mpqbench.search.budget_costs import measures
from mpqbench.search.engine import Engine
from mpqbench.search.groups import SearchableGroup
from mpqbench.search.problem import Problem
from mpqbench.search.setup import EngineSettings

W3A4 = Precision(3, 4)
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


def _quantized(model, known, branch, precision=W3A4, **plugins):
    plugins |= {"branch": branch, "layer_data": known.layer, "block_inputs": known.block}
    return quantized(model, precision, **plugins)


def test_a_layer_is_the_sum_of_both_paths(model, known):
    path = "transformer_blocks.1.ff.net.0.proj"
    original, x = model.get_submodule(path), torch.randn(2, 5, 16)
    for branch in BRANCHES:
        with _quantized(model, known, branch, transform=Hadamard()) as made:
            layer = made.layers[path]
            moved = layer.source.transform.input(x)
            weight = layer.source.transform.weight(original.weight)
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
            moment = layer.source.transform.input(
                layer.source.transform.input(moment).T.contiguous()
            )
            found = [squared_error(own - weight, moment) for own in (rest + dense, alone)]
            assert found[0] < found[1]


def test_nothing_is_added_where_nothing_is_lost(model, known):
    precise = tiny_transformer()
    for group in layer_groups(precise):
        for path in group.layers:
            weight = precise.get_submodule(path).weight
            weight.copy_(quantize_weight(weight, WeightFormat(), 3, path).dequantize())
    for branch in BRANCHES:
        with _quantized(precise, known, branch) as made:
            assert all(layer.branch is None for layer in made.layers.values())
            assert not made.operators


def test_who_gets_a_branch(model, known):
    mixed = [FULL, Precision(None, 4), Precision(3, None), W3A4]
    groups = layer_groups(model)
    changes = {g.name: mixed[at % 5 - 1] for at, g in enumerate(groups) if g.searchable}
    with _quantized(model, known, BRANCHES[0], changes=changes) as made:
        for group in groups:
            expected = group.searchable and changes[group.name].weight == 3
            for path in set(group.layers) & made.layers.keys():
                assert (made.layers[path].branch is not None) == expected, path
    with _quantized(model, known, NoBranch()) as made:
        assert all(layer.branch is None for layer in made.layers.values())
        assert not made.operators


def test_cost_by_hand(model, known):
    groups = layer_groups(model)
    branch = LowRank(rank=2, bits=8)
    made = _quantized(model, known, branch)
    made.remove()
    allocation = uniform_allocation(groups, W3A4, W8A8)
    report = count(model, groups, allocation, CountOptions(**FORMATS, extra=made.operators))
    plain = count(model, groups, allocation, CountOptions(**FORMATS))
    # Two blocks of width 16 on 16 tokens: q, k, v and out are 16 x 16, the MLP is 64 wide.
    numbers = 2 * 2 * (4 * (16 + 16) + 2 * (16 + 64))
    scales = 2 * 6 * 4 * 2
    assert report.branch_bitops == numbers * 16 * 64
    assert report.branch_bytes == numbers + scales

    # A row: its input is quantized (min, max, scale, its reciprocal, zero point), so are the 2
    # numbers between both products, and what comes out of either is scaled and shifted.
    def row(width, out):
        quantized = sum(n * 272 + 2 * (n - 1) * 16 + 3 * 256 + 16 for n in (width, 2))
        return quantized + (2 + out) * (2 * 256 + 8 * 16 + 16)

    rows = 2 * 16 * (4 * row(16, 16) + row(16, 64) + row(64, 16))
    assert report.bitops - plain.bitops == report.overhead["branch"] == report.branch_bitops + rows
    assert report.bytes - plain.bytes == report.branch_bytes
    assert report.bitops_linear == plain.bitops_linear
    assert len([op for op in report.operators if op.kind == "branch"]) == 12
    planned = branch_operators(branch, model, groups)
    assert [op for own in planned.values() for op in own] == list(made.operators)


@pytest.mark.parametrize("budget", ["W4A4", "W4A4:total", "W4A4+0.0195MB", "0.0193MB", "3.5b"])
def test_what_fits_is_what_is_satisfied(model, known, budget):
    groups, branch, budget = layer_groups(model), LowRank(rank=1, bits=8), Budget.parse(budget)
    choices = [Precision(w, a) for w in (None, 2, 3, 4) for a in (3, 4)]
    names = [group.name for group in groups if group.searchable]
    budget_total, turns = budget.total, PlannedOperators.of(Hadamard(), branch, model, groups)
    planned, limit = turns.branches, budget_limit(model, groups, budget)
    fixed = [op for g in groups if not g.searchable for op in turns.transforms[g.name]]
    rng, seen = np.random.default_rng(0), set()
    for inside, beside in ((True, planned), (False, {})):
        settings = {"adaln": W8A8, "branches": beside, "transforms": turns.transforms, **FORMATS}
        own = measures(model, groups, budget, choices, **settings)
        problem = Problem(names, dict.fromkeys(names, choices), own, budget)
        for _ in range(60):
            part = (
                choices[: int(rng.integers(1, 9))]
                if budget_total
                else choices[int(rng.integers(7)) :]
            )
            drawn = {name: part[rng.integers(len(part))] for name in names}
            whole = drawn | {g.name: W8A8 for g in groups if not g.searchable}
            extra = [
                op for name, p in drawn.items() if p.weight is not None for op in planned[name]
            ]
            if budget.total:
                extra += fixed + [op for name in drawn for op in turns.transforms[name]]
            report = count(model, groups, whole, CountOptions(**FORMATS, extra=extra))
            assert problem.fits(drawn) == report.satisfied(budget, limit, inside)
            seen.add((inside, problem.fits(drawn)))
    assert len(seen) >= 3


@pytest.mark.parametrize("rounding", [Nearest(), GPTQ()], ids=["nearest", "gptq"])
@pytest.mark.parametrize("branch", BRANCHES, ids=str)
def test_a_search_scores_what_will_be_quantized(model, known, branch, rounding):
    plugins = {"branch": branch, "transform": Hadamard(), "rounding": rounding}
    own, inputs = quantizer(layer_data=known.layer, **plugins), calibration(4)
    settings = EngineSettings(adaln=W8A8, batch=4)
    engine = Engine(model, layer_groups(model), own, inputs, settings)
    exact, rng = output(model, inputs), np.random.default_rng(1)
    choices = [Precision(w, a) for w in (2, 3, None) for a in (4, 6)]
    for _ in range(2):
        chosen = {group: choices[rng.integers(len(choices))] for group in engine.groups}
        with quantized(model, given=own, changes=chosen):
            expected = errors(model, exact, inputs)
        np.testing.assert_allclose(engine.errors([chosen])[0], expected, rtol=1e-6)


def test_environments_see_the_branch(model, known):
    own = quantizer(branch=BRANCHES[0], layer_data=known.layer)
    group = SearchableGroup(model, layer_groups(model)[6], own)
    beside, x = group.at(W3A4), torch.randn(4, 16, 16)
    nearly = EnvironmentalNoise(noise=1e-6, variant="weight").layer(group, W3A4, 4, 0)
    torch.testing.assert_close(nearly(x), group.full(x), rtol=1e-4, atol=1e-5)
    whole = EnvironmentalNoise(noise=1.0, variant="weight").layer(group, W3A4, 4, 0)
    torch.testing.assert_close(whole(x), beside(x), rtol=1e-5, atol=1e-6)
    lost = beside.weight - beside.unrounded_weight
    assert lost.norm() < (beside.weight - group.weight).norm()


def test_a_rounding_of_whole_blocks_leaves_its_rest_to_the_branch(model, known):
    rounding = AdaRound(unit="block", iterations=3)
    with _quantized(model, known, None, rounding=rounding) as made:
        alone = {path: layer.weight.clone() for path, layer in made.layers.items()}
    branch = LowRank(rank=2)
    with _quantized(model, known, branch, rounding=rounding) as made:
        for path, layer in made.layers.items():
            assert torch.equal(layer.weight, alone[path])
        path = "transformer_blocks.0.ff.net.2"
        rest = model.get_submodule(path)
        assert rest is made.layers[path]
        fitted = made.layers[path].branch.dense()
    lost = model.get_submodule(path).weight - alone[path]
    expected = branch.fit(lost, known.layer(path)).dense()
    torch.testing.assert_close(fitted, expected)


def test_a_branch_that_is_not_what_it_said_is_refused(model, known):
    class Larger(Branch):
        def size(self, out_features, in_features):
            return LowRank(rank=1).size(out_features, in_features)

        def fit(self, target, layer):
            return LowRank(rank=2).fit(target, layer)

    class Odd(Larger):
        def size(self, out_features, in_features):
            return BranchSize(1, 1, bits=4)

    with pytest.raises(BenchError, match=r"to_q: the branch has Branch.*where size gave Branch"):
        _quantized(model, known, Larger())
    with pytest.raises(BenchError, match="a branch has 8 or 16 bits, not 4"):
        _quantized(model, known, Odd())


@pytest.mark.parametrize("rounding", [Nearest(), AdaRound(unit="block", iterations=3)], ids=str)
def test_a_weight_that_is_not_finite_is_named(known, rounding):
    broken = tiny_transformer()
    broken.get_submodule("transformer_blocks.1.ff.net.2").weight[0, 0] = float("nan")
    with pytest.raises(Diverged, match=r"layer transformer_blocks\.1\.ff\.net\.2"):
        _quantized(broken, known, BRANCHES[0], rounding=rounding)
