import itertools

import numpy as np
import pytest
import torch
from rounding_cases import FORMATS, fmt_of, layer_of, row_errors

from mpqbench.baselines.roundings.adaround import AdaRound
from mpqbench.baselines.roundings.mse_clip import MSEClip
from mpqbench.contracts import BlockData
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import minmax_qparams, quantize_weight, round_to_nearest
from mpqbench.quant.clipping import weight_qparams
from mpqbench.quant.reconstruction import (
    Reconstruction,
    SoftWeight,
    reconstruct_layer,
    rectified_sigmoid,
)

FMT = WeightFormat(symmetric=False)


def _case(seed, out=12, columns=24):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4 * columns, columns)) @ rng.normal(size=(columns, columns))
    weight = torch.from_numpy(rng.normal(size=(out, columns)).astype(np.float32))
    return weight, torch.from_numpy(x.T @ x / len(x)).float()


def test_beats_nearest_on_correlated_inputs_and_never_loses():
    won = 0
    rounding = AdaRound(iterations=100, rate=0.1)
    for seed in range(12):
        fmt, bits = FORMATS[seed % len(FORMATS)], 2 + seed % 3
        weight, moment = _case(seed)
        ours = rounding.round(weight, layer_of(weight, moment), fmt, bits)
        nearest = round_to_nearest(weight, weight_qparams(weight, fmt, bits, "", "mse"), fmt, "")
        assert torch.equal(ours.scale, nearest.scale)
        ours, nearest = (row_errors(part, weight, moment) for part in (ours, nearest))
        assert (ours <= nearest * (1 + 1e-4)).all()
        won += bool(ours.sum() < 0.9 * nearest.sum())
    assert won >= 11


def test_close_to_the_exhaustive_optimum_over_up_and_down():
    columns = 8
    ups = torch.tensor(list(itertools.product((0.0, 1.0), repeat=columns)), dtype=torch.float64)
    excess = []
    rounding = AdaRound(grid="minmax", iterations=300, rate=0.05)
    for seed in range(8):
        weight, moment = _case(seed, 4, columns)
        rounded = rounding.round(weight, layer_of(weight, moment), FMT, 4)
        scale, zero = rounded.scale.double(), rounded.zero.double()
        best = torch.empty(4, dtype=torch.float64)
        for row in range(4):
            integers = torch.floor(weight[row].double() / scale[row]) + zero[row] + ups
            residual = scale[row] * (integers.clamp(0, 15) - zero[row]) - weight[row].double()
            best[row] = ((residual @ moment.double()) * residual).sum(1).min()
        errors = row_errors(rounded, weight, moment)
        nearest = row_errors(quantize_weight(weight, FMT, 4, ""), weight, moment)
        assert (errors >= best * (1 - 1e-4)).all()
        excess.append(((errors - best).sum() / (nearest - best).sum()).item())
    # What is left of the gap between nearest rounding and the optimum.
    assert np.mean(excess) < 0.25


def test_the_closed_form_gradient_is_that_of_the_loss():
    weight, moment = _case(2, 5, 16)
    choice = SoftWeight.of(weight, minmax_qparams(weight, FMT, 3, ""), FMT, "")
    steps = 40
    v = choice.initial_v().requires_grad_()
    learning = Reconstruction(steps, rate=0.1, penalty=3.0)
    adam = torch.optim.Adam([v], lr=learning.rate)
    moment = moment / moment.abs().max()
    nearest = ((choice.values(choice.nearest) - weight) @ moment) * (
        choice.values(choice.nearest) - weight
    )
    for step in range(steps):
        residual = choice.soft(rectified_sigmoid(v)[0]) - weight
        loss = (((residual @ moment) * residual).sum(1) / nearest.sum(1)).mean()
        beta = learning.beta(step)
        if beta is not None:
            loss = loss + 3.0 * (1 - (2 * rectified_sigmoid(v)[0] - 1).abs() ** beta).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    expected = choice.hard(v.detach())
    errors = [
        (((choice.values(q) - weight) @ moment) * (choice.values(q) - weight)).sum(1)
        for q in (expected, choice.nearest)
    ]
    expected = torch.where((errors[0] < errors[1])[:, None], expected, choice.nearest)
    assert torch.equal(reconstruct_layer(choice, moment, learning), expected)
    assert not torch.equal(expected, choice.nearest)


@fmt_of
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_layer_on_the_grid_comes_back_unchanged(fmt, bits):
    weight, moment = _case(3)
    on_grid = MSEClip().round(weight, layer_of(weight, moment), fmt, bits).dequantize()
    again = AdaRound(iterations=20).round(on_grid, layer_of(weight, moment), fmt, bits)
    torch.testing.assert_close(again.dequantize(), on_grid, rtol=1e-5, atol=1e-6)


class _ToyBlock:
    """Two linear layers with a nonlinearity between them, and inputs that are correlated."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        mix = torch.randn(16, 16, generator=generator)
        self.x = torch.randn(64, 4, 16, generator=generator) @ mix / 4
        self.weights = {
            "up": torch.randn(24, 16, generator=generator),
            "down": torch.randn(16, 24, generator=generator),
        }

    def forward(self, weights, indices):
        hidden = torch.nn.functional.gelu(self.x[indices] @ weights["up"].T)
        return hidden @ weights["down"].T

    def data(self, seed=0):
        layers = {
            path: layer_of(w, torch.eye(w.shape[1]), path) for path, w in self.weights.items()
        }
        targets = self.forward(self.weights, torch.arange(64))
        bits = {"up": 3, "down": 4}
        return BlockData("block", self.weights, layers, bits, targets, self.forward, seed)

    def error(self, weights):
        target = self.forward(self.weights, torch.arange(64))
        return float((self.forward(weights, torch.arange(64)) - target).square().mean())

    def nearest(self, kind="mse"):
        return {
            path: round_to_nearest(w, weight_qparams(w, FMT, bits, "", kind), FMT, "").dequantize()
            for (path, w), bits in zip(self.weights.items(), (3, 4), strict=True)
        }


def test_a_block_learned_together_is_closer_than_nearest_rounding():
    rounding = AdaRound(unit="block", iterations=200, rate=0.05, batch=16)
    for seed in range(3):
        toy = _ToyBlock(seed)
        with torch.no_grad():
            rounded = rounding.round_block(toy.data(), FMT)
        assert {path: part.bits for path, part in rounded.items()} == {"up": 3, "down": 4}
        error = toy.error({path: part.dequantize() for path, part in rounded.items()})
        assert error < 0.7 * toy.error(toy.nearest())


def test_a_block_never_loses_to_nearest_rounding():
    toy = _ToyBlock(0)
    for iterations in (1, 3):
        wild = AdaRound(unit="block", iterations=iterations, rate=50.0, batch=4)
        rounded = wild.round_block(toy.data(), FMT)
        error = toy.error({path: part.dequantize() for path, part in rounded.items()})
        assert error <= toy.error(toy.nearest()) * (1 + 1e-6)


def test_rounded_layers_of_a_block_stay_while_the_others_learn():
    toy = _ToyBlock(2)
    toy.weights["up"] = toy.nearest()["up"]
    rounding = AdaRound(unit="block", iterations=50, rate=0.05, batch=16)
    rounded = rounding.round_block(toy.data(), FMT)
    torch.testing.assert_close(rounded["up"].dequantize(), toy.weights["up"])
    error = toy.error({path: part.dequantize() for path, part in rounded.items()})
    assert error < 0.9 * toy.error(toy.nearest())
    toy.weights["down"] = toy.nearest()["down"]
    rounded = rounding.round_block(toy.data(), FMT)
    torch.testing.assert_close(rounded["down"].dequantize(), toy.weights["down"])
