import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rounding_cases import FORMATS, fmt_of, layer_of

from mpqbench.baselines.roundings.gptq import GPTQ
from mpqbench.baselines.roundings.mse_clip import MSEClip
from mpqbench.baselines.roundings.nearest import Nearest
from mpqbench.baselines.roundings.percentile import Percentile
from mpqbench.core.errors import BenchError
from mpqbench.core.formats import WeightFormat
from mpqbench.quant.affine import quantize_weight

ANY_WEIGHT = arrays(
    np.float32, (3, 8), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
)


def _heavy_tailed(seed, out=24, columns=64):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_t(3, (out, columns)).astype(np.float32)) * 0.1 + 0.01


def _moment(seed, columns):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4 * columns, columns)) @ rng.normal(size=(columns, columns))
    return torch.from_numpy(rows.T @ rows / len(rows)).float()


def _pieces(shape, fmt):
    """Slices of a weight that share one grid."""
    if fmt.granularity == "tensor":
        return [np.s_[:, :]]
    step = fmt.group or shape[1]
    return [np.s_[i, j : j + step] for i in range(shape[0]) for j in range(0, shape[1], step)]


def _rounded(w, low, high, bits, symmetric):
    """One vector on the textbook grid of one range, in float64."""
    if symmetric:
        lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        steps = (2**bits - 1) / 2 if symmetric == "full" else highest
        scale, zero = max(-low, high) / steps, 0
    else:
        lowest, highest = 0, 2**bits - 1
        scale = (high - low) / highest
        zero = np.round(-low / scale)
    return scale * (np.clip(np.round(w / scale) + zero, lowest, highest) - zero)


def _best_error(w, ranges, bits, symmetric, error):
    ranges = [(min(low, 0.0), max(high, 0.0)) for low, high in ranges]
    ends = {"restricted": [2 ** (bits - 1)], "full": [2 ** (bits - 1), 2 ** (bits - 1) - 1]}
    steps = (2**bits - 1) / 2 if symmetric == "full" else 2 ** (bits - 1) - 1
    for end in ends.get(symmetric, []):  # the far end falls on an end of the integers
        ranges.append((ranges[0][0] * steps / end, ranges[0][1] * steps / end))
    return min(error(w - _rounded(w, *ends, bits, symmetric)) for ends in ranges)


@fmt_of
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_mse_clip_finds_the_brute_force_minimum_of_every_grid(fmt, bits):
    weight = _heavy_tailed(bits, 6, 16)
    rounding = MSEClip(steps=30, smallest=0.1, exponent=2.4)
    error = rounding.round(weight, layer_of(weight), fmt, bits).dequantize().double() - weight
    for piece in _pieces(weight.shape, fmt):
        w = weight.double().numpy()[piece]
        ranges = [(w.min() * f, w.max() * f) for f in 1 - np.arange(30) * 0.9 / 30]
        expected = _best_error(w, ranges, bits, fmt.symmetric, lambda e: (np.abs(e) ** 2.4).sum())
        assert (np.abs(error.numpy()[piece]) ** 2.4).sum() == pytest.approx(expected, rel=1e-4)


@fmt_of
def test_percentile_finds_the_brute_force_minimum_of_every_grid(fmt):
    weight = _heavy_tailed(5, 8, 400) if fmt.group is None else _heavy_tailed(5, 8, 16)
    rounding = Percentile(percentiles=[0.99, 0.95])
    error = rounding.round(weight, layer_of(weight), fmt, 3).dequantize().double() - weight
    for piece in _pieces(weight.shape, fmt):
        w = weight.double().numpy()[piece]
        ranges = [(np.quantile(w, 1 - p), np.quantile(w, p)) for p in (1, 0.99, 0.95)]
        expected = _best_error(w, ranges, 3, fmt.symmetric, lambda e: (e**2).sum())
        assert (error.numpy()[piece] ** 2).sum() == pytest.approx(expected, rel=1e-4)


def test_output_error_finds_the_brute_force_minimum_on_calibration_rows():
    fmt = WeightFormat(granularity="group", group=4, symmetric=False)
    weight, moment = _heavy_tailed(3, 5, 12), _moment(4, 12)
    rounding = MSEClip(steps=25, smallest=0.3, error="output")
    values = rounding.round(weight, layer_of(weight, moment), fmt, 3).dequantize().double().numpy()
    for piece in _pieces(weight.shape, fmt):
        w, m = weight.double().numpy()[piece], moment.double().numpy()[piece[1], piece[1]]
        ranges = [(w.min() * f, w.max() * f) for f in 1 - np.arange(25) * 0.7 / 25]
        expected = _best_error(w, ranges, 3, False, lambda e, m=m: e @ m @ e)
        error = w - values[piece]
        assert error @ m @ error == pytest.approx(expected, rel=1e-3)


def test_output_error_over_the_whole_row_never_loses_to_nearest():
    for seed in range(5):
        weight, moment = _heavy_tailed(seed), _moment(seed, 64)
        for fmt in FORMATS[:4]:
            rounding = MSEClip(steps=20, error="output")
            clipped = rounding.round(weight, layer_of(weight, moment), fmt, 3)
            errors = [
                ((d @ moment.double()) * d).sum()
                for d in (
                    clipped.dequantize().double() - weight,
                    quantize_weight(weight, fmt, 3, "").dequantize().double() - weight,
                )
            ]
            assert errors[0] <= errors[1] * (1 + 1e-5)


@fmt_of
@pytest.mark.parametrize("rounding", [MSEClip(steps=12), Percentile()], ids=["mse", "percentile"])
@given(weight=ANY_WEIGHT, bits=st.integers(2, 8))
@settings(deadline=None, max_examples=25)
def test_any_finite_weight_stays_finite_and_never_loses_to_nearest(rounding, fmt, weight, bits):
    weight = torch.from_numpy(weight)
    rounded = rounding.round(weight, layer_of(weight), fmt, bits)
    nearest = quantize_weight(weight, fmt, bits, "up")
    assert rounded.integers.dtype == torch.int16
    assert rounded.scale.shape == rounded.zero.shape == nearest.scale.shape
    lowest = -(2 ** (bits - 1)) if fmt.symmetric else 0
    assert rounded.integers.min() >= lowest
    assert rounded.integers.max() < lowest + 2**bits
    assert torch.isfinite(rounded.dequantize()).all()
    ours, theirs = (
        (part.dequantize().double() - weight).square().sum() for part in (rounded, nearest)
    )
    # Float32 cannot tell apart errors this small against the weight itself.
    noise = 1e-11 * weight.double().square().sum() + 1e-70
    assert ours <= theirs * (1 + 1e-5) + noise


@fmt_of
@pytest.mark.parametrize("rounding", [MSEClip(), Percentile()], ids=["mse-clip", "percentile"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_rounding_twice_changes_nothing(rounding, fmt, bits):
    weight = _heavy_tailed(bits)
    once = rounding.round(weight, layer_of(weight), fmt, bits).dequantize()
    twice = rounding.round(once, layer_of(weight), fmt, bits).dequantize()
    torch.testing.assert_close(twice, once, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rounding", [Nearest(), MSEClip(), Percentile(), GPTQ()], ids=repr)
def test_a_bad_weight_spoils_its_row_only(rounding):
    weight = _heavy_tailed(1)
    weight[1, 2] = float("nan")
    layer = layer_of(weight, _moment(1, 64))
    values = rounding.round(weight, layer, WeightFormat(), 4).dequantize()
    assert torch.isfinite(values).all(dim=1).tolist() == [i != 1 for i in range(len(weight))]


def test_only_the_output_error_needs_inputs():
    assert not MSEClip().needs_inputs
    assert MSEClip(error="output").needs_inputs
    with pytest.raises(BenchError, match=r"layer up: .* needs its moment"):
        MSEClip(error="output").round(torch.ones(2, 4), layer_of(torch.ones(2, 4)), FORMATS[0], 4)
