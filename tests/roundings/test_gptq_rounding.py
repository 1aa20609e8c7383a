import itertools

import numpy as np
import pytest
import torch
from rounding_cases import FORMATS, fmt_of, layer_of, row_errors

from mpqbench.baselines.roundings.gptq import GPTQ
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import quantize_weight


def _case(seed, out=16, columns=32, rows=None):
    """A random weight and the moment of correlated inputs."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(columns, columns)) / columns**0.5 + np.eye(columns) * rng.uniform(0, 1)
    x = rng.normal(size=(rows or 4 * columns, columns)) @ (mix * rng.uniform(0.1, 3, columns))
    weight = torch.from_numpy(rng.normal(size=(out, columns)).astype(np.float32))
    return weight, torch.from_numpy(x.T @ x / len(x)).float()


def _error(rounded, weight, moment):
    return float(row_errors(rounded, weight, moment).sum())


def _textbook(weight, moment, scale, zero, lowest, highest, damping, order):
    """Optimal Brain Surgeon: the inverse Hessian of what is left, anew for every column."""
    w, h = weight.double().numpy().copy(), moment.double().numpy()
    h = h + damping * np.diag(h).mean() * np.eye(len(h))
    integers = np.zeros_like(w)
    left = list(order)
    while left:
        k, inverse = left[0], np.linalg.inv(h[np.ix_(left, left)])
        units = (w[:, k] / scale[:, k]).astype(np.float32)  # as float32 decides a tie
        integers[:, k] = np.clip(np.round(units) + zero[:, k], lowest, highest)
        error = w[:, k] - scale[:, k] * (integers[:, k] - zero[:, k])
        w[:, left] -= np.outer(error / inverse[0, 0], inverse[0])
        left.pop(0)
    return integers


@pytest.mark.parametrize("safeguard", [True, False])
def test_lowers_the_hessian_weighted_error_of_200_random_layers(safeguard):
    ratios = []
    for seed in range(200):
        fmt, bits = FORMATS[seed % len(FORMATS)], 2 + seed % 3
        weight, moment = _case(seed, rows=16 if seed % 5 == 0 else None)
        rounding = GPTQ(safeguard=safeguard)
        ours = rounding.round(weight, layer_of(weight, moment), fmt, bits)
        nearest = quantize_weight(weight, fmt, bits, "up")
        assert torch.equal(ours.scale, nearest.scale)
        assert torch.equal(ours.zero, nearest.zero)
        ratios.append(_error(ours, weight, moment) / _error(nearest, weight, moment))
    assert np.mean(np.array(ratios) < 1) >= 0.99
    assert max(ratios) <= 1.05
    assert np.median(ratios) < 0.8


def test_lies_between_nearest_and_the_exhaustive_optimum():
    points = torch.tensor(list(itertools.product(range(8), repeat=4)), dtype=torch.float64)
    fmt = WeightFormat(symmetric=False)
    reached = 0
    for seed in range(40):
        weight, moment = _case(seed, out=2, columns=4)
        ours = GPTQ().round(weight, layer_of(weight, moment), fmt, 3)
        best = 0.0
        for row in range(2):
            values = ours.scale[row].double() * (points - ours.zero[row])
            residual = values - weight[row].double()
            best += float(((residual @ moment.double()) * residual).sum(1).min())
        nearest = _error(quantize_weight(weight, fmt, 3, "up"), weight, moment)
        error = _error(ours, weight, moment)
        assert best * (1 - 1e-5) <= error <= nearest * (1 + 1e-5)
        reached += error <= best * 1.001
    assert reached >= 10


@fmt_of
@pytest.mark.parametrize("act_order", [True, False])
def test_agrees_with_brain_surgeon_updates_in_float64(fmt, act_order):
    for seed in range(5):
        weight, moment = _case(seed)
        rounding = GPTQ(act_order=act_order, safeguard=False)
        ours = rounding.round(weight, layer_of(weight, moment), fmt, 3)
        columns = weight.shape[1] // ours.scale.shape[1]
        scale, zero = (
            part.repeat_interleave(columns, 1).expand(weight.shape).double().numpy()
            for part in (ours.scale, ours.zero)
        )
        ends = (-4, 3) if fmt.symmetric else (0, 7)
        order = range(weight.shape[1])
        if act_order:
            order = np.argsort(-moment.diagonal().numpy(), kind="stable")
        expected = _textbook(weight, moment, scale, zero, *ends, 0.01, order)
        assert np.array_equal(ours.integers.numpy(), expected)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_full_symmetric_integers_are_those_of_the_quantizer_of_gptqs_own_code(bits):
    """IST-DASLab/gptq, quant.py with ``sym``, in plain form: maxq 3 and zero 2 at 2 bits."""
    weight, moment = _case(bits, 24, 48)
    maxq = 2**bits - 1
    zero = (maxq + 1) / 2
    assert bits != 2 or (maxq, zero) == (3, 2)
    xmax = weight.abs().amax(1, keepdim=True).numpy()
    scale = np.broadcast_to((xmax - -xmax) / np.float32(maxq), weight.shape).astype(np.float64)
    own = _textbook(weight, moment, scale, scale * 0 + zero, 0, maxq, 0.01, range(48))
    layer = layer_of(weight, moment)
    rounding = GPTQ(act_order=False, safeguard=False)
    ours = rounding.round(weight, layer, WeightFormat(symmetric="full"), bits)
    assert np.array_equal(ours.integers.numpy() + zero, own)
    assert np.allclose(ours.dequantize().numpy(), scale * (own - zero), rtol=1e-6)
    assert set(np.unique(own)) == set(range(maxq + 1))


def test_at_two_bits_all_levels_halve_the_error_of_gptq():
    errors = {}
    for kind in ("full", "restricted"):
        fmt = WeightFormat(symmetric=kind)
        cases = [_case(seed) for seed in range(8)]
        errors[kind] = sum(_error(GPTQ().round(w, layer_of(w, m), fmt, 2), w, m) for w, m in cases)
    assert errors["full"] < 0.6 * errors["restricted"]


@fmt_of
def test_the_block_size_does_not_change_the_result(fmt):
    weight, moment = _case(7, 24, 104)
    layer = layer_of(weight, moment)
    expected = GPTQ(block=1).round(weight, layer, fmt, 3).integers
    for block in (5, 8, 64, 104, 1000):
        assert torch.equal(GPTQ(block=block).round(weight, layer, fmt, 3).integers, expected)


@fmt_of
@pytest.mark.parametrize("moment", [torch.eye(32) * 7, torch.zeros(32, 32)], ids=["eye", "zero"])
def test_uncorrelated_or_absent_inputs_give_nearest_rounding(fmt, moment):
    weight, _ = _case(3)
    ours = GPTQ().round(weight, layer_of(weight, moment), fmt, 4)
    nearest = quantize_weight(weight, fmt, 4, "up")
    assert torch.equal(ours.integers, nearest.integers)
    assert torch.equal(ours.scale, nearest.scale)


@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1e30])
def test_the_scale_of_the_moment_does_not_matter(factor):
    weight, moment = _case(5)
    first, second = (
        GPTQ().round(weight, layer_of(weight, m), FORMATS[3], 3) for m in (moment, moment * factor)
    )
    assert (first.integers != second.integers).float().mean() < 0.01


def test_a_dead_column_is_rounded_to_nearest_and_disturbs_nobody():
    weight, moment = _case(6)
    moment[:, 4] = moment[4, :] = 0
    fmt = WeightFormat(symmetric=False)
    ours = GPTQ().round(weight, layer_of(weight, moment), fmt, 4)
    assert torch.equal(ours.integers[:, 4], quantize_weight(weight, fmt, 4, "").integers[:, 4])
    assert _error(ours, weight, moment) < _error(
        quantize_weight(weight, fmt, 4, ""), weight, moment
    )


def test_damping_grows_for_an_indefinite_moment_until_it_gives_up():
    weight, moment = _case(1)
    values, vectors = torch.linalg.eigh(moment)
    values[0] = -0.05 * moment.diagonal().mean()
    mildly = (vectors * values) @ vectors.T
    rounded = GPTQ().round(weight, layer_of(weight, mildly), WeightFormat(), 4)
    assert torch.isfinite(rounded.dequantize()).all()
    with pytest.raises(BenchError, match="layer up: its moment is not positive definite"):
        GPTQ().round(weight, layer_of(weight, -moment), WeightFormat(), 4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_moment_that_is_missing_or_not_finite_names_the_layer(bad):
    weight, moment = _case(0)
    with pytest.raises(BenchError, match="layer up: 'gptq' needs its moment"):
        GPTQ().round(weight, layer_of(weight, None), WeightFormat(), 4)
    moment[2, 3] = bad
    with pytest.raises(BenchError, match="layer up: its moment is not finite"):
        GPTQ().round(weight, layer_of(weight, moment), WeightFormat(), 4)


def test_the_safeguard_takes_each_row_from_the_better_of_the_two():
    fmt, replaced = WeightFormat(symmetric=False), 0
    for seed in range(50):
        weight, moment = _case(seed, out=8, columns=4)
        layer = layer_of(weight, moment)
        plain, nearest, ours = (
            rounded.dequantize().double() - weight
            for rounded in (
                GPTQ(safeguard=False).round(weight, layer, fmt, 3),
                quantize_weight(weight, fmt, 3, "up"),
                GPTQ().round(weight, layer, fmt, 3),
            )
        )
        errors = [((d @ moment.double()) * d).sum(1) for d in (plain, nearest, ours)]
        torch.testing.assert_close(errors[2], torch.minimum(*errors[:2]), rtol=1e-4, atol=1e-9)
        replaced += int((errors[1] < errors[0] * 0.99).sum())
    assert replaced > 10
