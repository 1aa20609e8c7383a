import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mpqbench.core.errors import BenchError
from mpqbench.core.formats import Symmetry, WeightFormat, scale_count
from mpqbench.quant.affine import (
    QParams,
    dequantize,
    fake_quantize,
    fake_quantize_dynamic,
    qparams_from_range,
    quantize,
    quantize_dequantize,
    quantize_weight,
    range_of,
)

FLOAT_MAX = float(np.finfo(np.float32).max)
KINDS = [False, "restricted", "full"]
BITS = st.integers(2, 8)
ROWS = arrays(np.float32, 24, elements=st.floats(-1e6, 1e6, width=32))
ANY_ROWS = arrays(
    np.float32, 24, elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
)


def _grid(x: torch.Tensor, bits: int, symmetric: Symmetry) -> QParams:
    return qparams_from_range(*range_of(x), bits, symmetric)


def _expected(x: np.ndarray, bits: int, symmetric: Symmetry) -> np.ndarray:
    """The textbook formula in float64, one vector with one range."""
    x = x.astype(np.float64)
    if symmetric:
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        steps = (2**bits - 1) / 2 if symmetric == "full" else high
        # As float32 decides the tie of the largest number of a full grid.
        scale, zero = float(np.float32(np.abs(x).max() / steps)), 0.0
    else:
        low, high = 0, 2**bits - 1
        top, bottom = max(x.max(), 0.0), min(x.min(), 0.0)
        scale = (top - bottom) / high
        zero = np.round(-bottom / scale)
    units = (x / scale).astype(np.float32)
    return scale * (np.clip(np.round(units) + zero, low, high) - zero)


@pytest.mark.parametrize("symmetric", KINDS)
@pytest.mark.parametrize("bits", range(2, 9))
def test_agrees_with_the_formula_in_float64(bits, symmetric):
    x = np.random.default_rng(bits).normal(0.3, 1.0, 500).astype(np.float32)
    tensor = torch.from_numpy(x)
    ours = quantize_dequantize(tensor, _grid(tensor, bits, symmetric)).numpy()
    assert np.abs(ours - _expected(x, bits, symmetric)).max() < 1e-6


@given(x=ROWS, bits=BITS, symmetric=st.sampled_from(KINDS))
@settings(deadline=None)
def test_error_is_at_most_half_a_step_inside_the_range(x, bits, symmetric):
    tensor = torch.from_numpy(x)
    grid = _grid(tensor, bits, symmetric)
    values, scale = quantize_dequantize(tensor, grid).double(), grid.scale.double()
    low = scale * (grid.lowest - grid.zero)
    high = scale * (grid.highest - grid.zero)
    inside = (tensor >= low) & (tensor <= high)
    error = (values - tensor).abs()
    assert (error <= scale / 2 * (1 + 1e-4))[inside].all()
    # Rounding z moves the range by at most half a step, so the ends are off by no more.
    assert (error <= scale * (1 + 1e-4)).all()


@given(x=ANY_ROWS, bits=BITS, symmetric=st.sampled_from(KINDS))
@settings(deadline=None)
def test_any_finite_input_gives_integers_in_range_that_stay_and_keep_its_order(x, bits, symmetric):
    tensor = torch.from_numpy(x).sort().values
    grid = _grid(tensor, bits, symmetric)
    integers = quantize(tensor, grid)
    assert torch.equal(integers, integers.round())
    assert integers.min() >= grid.lowest
    assert integers.max() <= grid.highest
    assert (integers.diff() >= 0).all()
    assert 0 <= grid.zero <= (0 if symmetric else 2**bits - 1)
    values = dequantize(integers, grid)
    assert torch.isfinite(values).all()
    assert torch.equal(quantize(values, grid), integers)


@pytest.mark.parametrize("symmetric", KINDS)
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(
    ("values", "tolerance"),
    [([0.0] * 4, 0.0), ([-3.0] * 4, 1e-6), ([1e-45, -1e-45], 1e-44), ([1e-38, 0.0], 1.2e-38)],
)
def test_degenerate_inputs_come_back(values, tolerance, bits, symmetric):
    x, grid = torch.tensor(values), _grid(torch.tensor(values), bits, symmetric)
    if symmetric == "full":  # its ends lie half a step inside and outside the range
        tolerance += float(grid.scale) / 2
    assert (quantize_dequantize(x, grid) - x).abs().max() <= tolerance


@given(x=ROWS, bits=BITS)
@settings(deadline=None)
def test_restricted_grids_are_bit_for_bit_those_of_before_there_were_two_kinds(x, bits):
    tensor, highest = torch.from_numpy(x), 2 ** (bits - 1) - 1
    scale = (tensor.abs().amax(0, keepdim=True) / highest).clamp(min=torch.finfo().tiny)
    integers = (tensor / scale).round().clamp(-highest - 1, highest)
    for kind in ("restricted", True):  # records from before say true
        grid = _grid(tensor, bits, WeightFormat(symmetric=kind).symmetric)
        assert torch.equal(torch.as_tensor(grid.scale), scale)
        assert torch.equal(quantize(tensor, grid), integers)
    assert torch.equal(fake_quantize_dynamic(tensor, bits, "restricted"), integers * scale)


@given(x=ROWS, bits=BITS, symmetric=st.sampled_from(KINDS))
@settings(deadline=None)
def test_dynamic_grids_round_as_grids_of_given_ranges(x, bits, symmetric):
    tensor = torch.from_numpy(x)
    own = quantize_dequantize(tensor, _grid(tensor, bits, symmetric))
    assert torch.equal(fake_quantize_dynamic(tensor, bits, symmetric), own)


@pytest.mark.parametrize("size", [1.0, 1e-36, 1e36], ids=["usual", "small", "large"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_long_vectors_round_as_short_ones_also_in_ties(bits, size):
    # Of 200 numbers from -9 to 9 halves, the scale is a whole number of halves for some vectors:
    # the largest number is then rounded above the last level unless it is limited.
    generator = torch.Generator().manual_seed(bits)
    rows = torch.randint(-9, 10, (400, 200), generator=generator) / 2 * size
    rows[::3] = rows[::3].clamp(min=-size / 2, max=(2**bits - 1.5) * size)
    grid = _grid(rows, bits, False)
    assert (quantize(rows, grid) == grid.highest).any()
    values = fake_quantize_dynamic(rows, bits, False)
    assert torch.equal(values, quantize_dequantize(rows, grid))
    assert torch.equal(values, torch.stack([fake_quantize_dynamic(x, bits, False) for x in rows]))


@pytest.mark.parametrize("symmetric", KINDS)
@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("values", [[FLOAT_MAX, -FLOAT_MAX], [FLOAT_MAX, 0.0], [-FLOAT_MAX, 1.0]])
def test_the_float_maximum_stays_finite_and_of_its_sign(values, bits, symmetric):
    x = torch.tensor(values)
    out = quantize_dequantize(x, _grid(x, bits, symmetric))
    assert torch.isfinite(out).all()
    big = x.abs() == FLOAT_MAX
    assert (out.sign() == x.sign())[big].all()
    assert (out.abs() >= FLOAT_MAX / 4)[big].all()


@pytest.mark.parametrize("symmetric", KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_are_not_hidden(bad, symmetric):
    x = torch.tensor([[1.0, bad, 2.0], [1.0, -1.0, 2.0]])
    own = quantize_dequantize(x, _grid(x, 4, symmetric))
    assert not torch.isfinite(own[0, 1])
    assert torch.isfinite(own[1]).all()
    given_range = fake_quantize(x, QParams(0.25, 0.0, 4, symmetric))
    assert given_range.isnan().tolist() == [[False, True, False], [False] * 3]


@pytest.mark.parametrize("symmetric", KINDS)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_agrees_with_torch_per_channel(bits, symmetric):
    torch.manual_seed(bits)
    x = torch.randn(16, 64)
    # Power-of-two scales and even zeros: torch multiplies by 1 / s and rounds after adding z.
    scale = 2.0 ** torch.randint(-6, 0, (16, 1))
    zero = torch.zeros(16, 1) if symmetric else torch.randint(0, 2 ** (bits - 1), (16, 1)) * 2.0
    grid = QParams(scale, zero, bits, symmetric)
    theirs = torch.fake_quantize_per_channel_affine(
        x, scale.flatten(), zero.flatten().to(torch.int32), 0, grid.lowest, grid.highest
    )
    assert torch.equal(fake_quantize(x, grid), theirs)


@pytest.mark.parametrize("symmetric", KINDS)
@pytest.mark.parametrize(
    ("granularity", "group", "grids"), [("tensor", None, 1), ("channel", None, 6), ("group", 4, 18)]
)
def test_weight_granularities_against_a_loop(granularity, group, grids, symmetric):
    fmt = WeightFormat(granularity=granularity, group=group, symmetric=symmetric)
    weight = torch.randn(6, 12, generator=torch.Generator().manual_seed(0)) + 0.2
    rounded = quantize_weight(weight, fmt, 4, "layer")
    pieces = {
        "tensor": [np.s_[:, :]],
        "channel": [np.s_[i, :] for i in range(6)],
        "group": [np.s_[i, j : j + 4] for i in range(6) for j in range(0, 12, 4)],
    }[granularity]
    expected = np.empty((6, 12))
    for piece in pieces:
        expected[piece] = _expected(weight.numpy()[piece], 4, symmetric)
    assert np.abs(rounded.dequantize().numpy() - expected).max() < 1e-6
    assert rounded.scale.numel() == rounded.zero.numel() == grids
    assert scale_count(6, 12, fmt, "layer") == grids
    assert rounded.integers.dtype == torch.int16
    assert rounded.scale.dtype == torch.float32


def test_a_group_that_does_not_divide_names_layer_width_and_divisors():
    fmt = WeightFormat(granularity="group", group=5)
    with pytest.raises(
        BenchError, match=r"layer up: group 5 .* width 12; valid: 1, 2, 3, 4, 6, 12"
    ):
        quantize_weight(torch.ones(2, 12), fmt, 4, "up")
    with pytest.raises(BenchError, match=r"layer up: group 5 .* width 12"):
        scale_count(2, 12, fmt, "up")


def test_bfloat16_weights_are_rounded_in_float32():
    weight = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).bfloat16()
    ours = quantize_weight(weight, WeightFormat(), 8, "layer")
    assert torch.equal(
        ours.integers, quantize_weight(weight.float(), WeightFormat(), 8, "").integers
    )
    assert ours.scale.dtype == torch.float32
