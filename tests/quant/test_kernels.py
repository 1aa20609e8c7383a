"""Compiled kernels give the numbers of torch's operations, bit for bit, and hide no operation."""

import pytest
import torch

from mpqbench.core.formats import ActivationFormat
from mpqbench.dit import native
from mpqbench.quant.activation import ActivationQuantizer
from mpqbench.quant.affine import fake_quantize_dynamic
from mpqbench.quant.counting import Executed
from mpqbench.quant.group import QuantizedInput
from mpqbench.quant.hadamard import hadamard_product

KINDS = [False, "full", "restricted"]

pytestmark = pytest.mark.skipif(native.library() is None, reason="the kernels were not built")


@pytest.fixture
def by_torch(monkeypatch):
    """Return a function that calls another one without the kernels."""

    def call(function, *args):
        with monkeypatch.context() as patched:
            patched.setattr(native, "library", lambda: None)
            return function(*args)

    return call


def _rows(count, width, kind):
    generator = torch.Generator().manual_seed(count + width)
    rows = torch.randn(count, width, generator=generator)
    # Halves give many ties; numbers of one sign have a range that is widened to zero.
    return {"normal": rows, "halves": (rows * 6).round() / 2, "one sign": rows.abs() + 3}[kind]


@pytest.mark.parametrize("kind", ["normal", "halves", "one sign"])
@pytest.mark.parametrize("symmetric", KINDS)
@pytest.mark.parametrize("width", [16, 32, 80, 512])
def test_fake_quantization(width, symmetric, kind, by_torch):
    for count in (1, 15, 16, 17, 100):
        rows = _rows(count, width, kind)
        assert native.takes(rows, width)
        for bits in range(2, 9):
            expected = by_torch(fake_quantize_dynamic, rows, bits, symmetric)
            assert torch.equal(fake_quantize_dynamic(rows, bits, symmetric), expected)
            own = rows.clone()
            assert fake_quantize_dynamic(own, bits, symmetric, in_place=True) is own
            assert torch.equal(own, expected)


@pytest.mark.parametrize("symmetric", KINDS)
@pytest.mark.parametrize("strange", [float("nan"), float("inf"), 0.0, 1e-42, 1e-37, 3e38])
def test_numbers_that_are_not_finite_and_scales_near_the_ends_of_the_type(
    strange, symmetric, by_torch
):
    rows = _rows(40, 64, "normal")
    rows[20] *= 0 if abs(strange) < 1e-30 else 1
    rows[20, 7] = strange
    found = fake_quantize_dynamic(rows, 4, symmetric)
    expected = by_torch(fake_quantize_dynamic, rows, 4, symmetric)
    assert torch.equal(found.nan_to_num(9.0), expected.nan_to_num(9.0))
    assert found.isnan().any() == (strange != strange or strange == float("inf"))


@pytest.mark.parametrize(
    ("width", "power"), [(16, 16), (128, 128), (192, 64), (80, 16), (2048, 512)]
)
def test_hadamard_products(width, power, by_torch):
    signs = torch.randn(width, generator=torch.Generator().manual_seed(1))
    rows = _rows(33, width, "normal")
    expected = by_torch(hadamard_product, rows, signs, power, None)
    assert torch.equal(hadamard_product(rows, signs, power, None), expected)


def test_gradients_counting_and_other_tensors_are_left_to_torch():
    rows = torch.randn(32, 64)
    assert native.takes(rows, 64)
    assert not native.takes(rows.double(), 64)
    assert not native.takes(rows.T, 32)
    assert not native.takes(rows[:, :60].contiguous(), 60)
    assert not native.takes(rows[:0], 64)
    assert not native.takes(rows.clone().requires_grad_(), 64)
    with Executed() as executed:
        hadamard_product(rows, torch.ones(64), 64, None)
    assert executed.additions == 32 * 64 * 6  # log2(64) for each number
    with torch.no_grad():
        assert native.takes(rows.clone().requires_grad_(), 64)


def test_an_input_is_overwritten_only_where_it_is_the_transform_own_and_no_branch_reads_it():
    quantizer = ActivationQuantizer(4, ActivationFormat())
    given = _rows(20, 64, "normal")
    for transform, branched in ((Identity(), False), (Doubled(), False), (Doubled(), True)):
        source, x = QuantizedInput(transform, quantizer), given.clone()
        source.add_reader(branched)
        with torch.no_grad():
            quantized, moved = source.pair(x)
        assert torch.equal(x, given)
        expected = transform.input(given)
        assert torch.equal(quantized, quantizer(expected))
        assert torch.equal(moved, expected) == (branched or transform.input(x) is x)


class Identity:
    def input(self, x):
        return x


class Doubled:
    def input(self, x):
        return 2 * x
