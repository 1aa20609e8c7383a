"""One branch for queries, keys and values: SVDQuant's shared down-projection."""

import pytest
import torch
from calibration import Calibration
from tiny_quantizer import W8A8, quantized

from mpqbench.baselines.branches.low_rank import LowRank
from mpqbench.baselines.roundings.gptq import GPTQ
from mpqbench.conformance.models import tiny_transformer
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.core.protocol import PROTOCOLS
from mpqbench.core.registry import discover
from mpqbench.cost.count import CountOptions, count
from mpqbench.dit.groups import layer_groups, uniform_allocation
from mpqbench.job.context import check_recipe
from mpqbench.quant.affine import quantize_weight
from mpqbench.quant.planned import branch_operators

RANK, BITS = 2, 3
NAMES = ("to_q", "to_k", "to_v")
ATTENTION = "transformer_blocks.0.attn1"
FMT = WeightFormat(symmetric=False)


@pytest.fixture(scope="module")
def model():
    return tiny_transformer()


def _plain_loops(weights, rounds):
    """SVD of the stacked residual and nearest rounding of each layer in turn, written out."""
    stacked, rounded = torch.cat(weights), torch.zeros_like(torch.cat(weights))
    best, least = None, float("inf")
    for _ in range(rounds):
        u, s, v = torch.linalg.svd((stacked - rounded).double(), full_matrices=False)
        branch = (u[:, :RANK] * s[:RANK] @ v[:RANK]).float()
        rests = (stacked - branch).split([len(w) for w in weights])
        rounded = torch.cat([quantize_weight(r, FMT, BITS, "").dequantize() for r in rests])
        error = (branch + rounded - stacked).double().square().sum()
        if not error < least:
            break
        best, least = (branch, rounded), error
    return best


def test_it_is_the_svd_of_the_stacked_residual(model):
    weights = [model.get_submodule(f"{ATTENTION}.{n}").weight.detach() for n in NAMES]
    branch, rounded = _plain_loops(weights, 5)
    settings = {"branch": LowRank(rank=RANK, iterations=5, shared=True), "weight_format": FMT}
    x = torch.randn(4, 7, weights[0].shape[1])
    with quantized(model, Precision(BITS, None), **settings):
        layers = [model.get_submodule(f"{ATTENTION}.{n}") for n in NAMES]
        outputs = torch.cat([layer(x) - layer.bias for layer in layers], -1)
        kept = torch.cat([layer.branch.dense() for layer in layers])
        assert len({id(layer.branch.whole) for layer in layers}) == 1
        assert torch.linalg.matrix_rank(kept.double(), rtol=1e-6) == RANK
    torch.testing.assert_close(kept, branch, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs, x @ (branch + rounded).T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_group_counts_it_once(model, bits):
    groups = layer_groups(model)
    known = Calibration(model, groups)
    branch = LowRank(rank=RANK, bits=bits, iterations=1, shared=True)
    settings = {"branch": branch, "rounding": GPTQ(), "layer_data": known.layer}
    formats = {"weight_format": FMT, "activation_format": ActivationFormat()}
    made = quantized(model, Precision(BITS, 4), **settings, **formats)
    with made:
        fitted = [op for op in made.operators if op.kind == "branch"]
    planned = [op for ops in branch_operators(branch, model, groups).values() for op in ops]
    assert sorted(fitted, key=str) == sorted(planned, key=str)
    own = next(op for op in fitted if "qkv" in op.name)
    width = model.get_submodule(f"{ATTENTION}.to_q").in_features
    assert own.weights == RANK * (width + 3 * width)  # three branches: 3 RANK (width + width)
    tokens = next(group.tokens for group in groups if "qkv" in group.name)
    assert own.macs == tokens * RANK * (width + 3 * width)
    assert (own.weight_bits, own.activation_bits) == (bits, bits)
    allocation = uniform_allocation(groups, Precision(BITS, 4), W8A8)
    counted = count(model, groups, allocation, CountOptions(**formats, extra=tuple(fitted)))
    assert counted.branch_bitops == sum(op.macs for op in fitted) * bits**2


@pytest.mark.parametrize(
    "other", [{"tuner": "peft"}, {"rounding": {"name": "adaround", "unit": "block"}}]
)
def test_what_cannot_share_a_branch_is_refused_when_planned(other):
    registry = discover()
    recipe = registry.method({"base": "svdquant", "name": "other", **other})
    with pytest.raises(BenchError, match="'other': a shared branch takes no"):
        check_recipe(recipe, PROTOCOLS["quick"], registry)
