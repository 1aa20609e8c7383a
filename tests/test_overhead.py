"""The overhead of quantized products, against integer arithmetic in plain loops that counts itself.

The reference below is written as a kernel would be: integers are multiplied and added, and every
scale and zero point is applied where it costs least. It counts its own operations by bits.
"""

from collections import Counter

import pytest
import torch

from mpqbench.core.errors import BenchError
from mpqbench.core.formats import ActivationFormat, WeightFormat
from mpqbench.core.precision import Precision
from mpqbench.cost.overhead import ProductFormat, of_attention, of_group
from mpqbench.dit.architecture import AttentionProducts
from mpqbench.quant.affine import (
    QParams,
    minmax_qparams,
    pack,
    qparams_from_range,
    quantize,
    range_of,
    weight_rows,
)

SCALE, SUM = 16, 16  # bits


class Counted:
    """Multiplications and additions by the bits of their operands."""

    def __init__(self) -> None:
        self.multiplications: Counter[tuple[int, int]] = Counter()
        self.additions: Counter[int] = Counter()

    def times(self, a: float, b: float, bits: tuple[int, int]) -> float:
        self.multiplications[bits] += 1
        return a * b

    def plus(self, a: float, b: float) -> float:
        self.additions[SUM] += 1
        return a + b

    @property
    def bitops(self) -> int:
        products = sum(n * a * b for (a, b), n in self.multiplications.items())
        return products + sum(n * bits for bits, n in self.additions.items())


class Kernel:
    """One linear layer in integers: ``x (tokens, in) -> (tokens, out)``."""

    def __init__(self, weight, precision, weight_format, activation_format, static=None) -> None:
        self.w, self.a = precision.weight, precision.activation
        self.weight_format, self.activation_format = weight_format, activation_format
        qparams = minmax_qparams(weight, weight_format, self.w, "layer")
        self.weight = pack(quantize(weight_rows(weight, weight_format, "layer"), qparams), qparams)
        self.static = static
        self.rescale, self.zeros, self.ranges = Counted(), Counted(), Counted()

    def quantized_input(self, row: torch.Tensor) -> tuple[list[int], list[float], list[int]]:
        """Return integers, scales and zero points of one row, and count what is dynamic."""
        width, count = len(row), self.ranges
        size = self.activation_format.group or width
        integers: list[int] = []
        scales, zeros = [], []
        for start in range(0, width, size):
            part = row[start : start + size]
            qparams = self.static
            if qparams is None:
                symmetric = bool(self.activation_format.symmetric)
                low, high = range_of(part[None])
                for _ in range((1 if symmetric else 2) * (size - 1)):
                    count.plus(0, 0)  # a comparison
                count.times(1, 1, (16, 16))  # the range, over the number of steps
                count.times(1, 1, (16, 16))  # its reciprocal
                if not symmetric:
                    count.plus(0, 0)  # high - low
                    count.times(1, 1, (16, 16))  # the zero point
                qparams = qparams_from_range(low, high, self.a, self.activation_format.symmetric)
            for value in quantize(part[None], qparams)[0].tolist():
                count.times(1, 1, (16, 16))
                count.plus(0, 0)
                integers.append(int(value))
            scales.append(float(torch.as_tensor(qparams.scale)))
            zeros.append(int(torch.as_tensor(qparams.zero)))
        return integers, scales, zeros

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        out = [[0.0] * self.weight.integers.shape[0] for _ in x]
        for token, row in enumerate(x):
            integers, scales, zeros = self.quantized_input(row)
            sums = self._input_sums(integers, scales)
            for output in range(len(out[token])):
                out[token][output] = self._output(output, integers, scales, zeros, sums)
        return torch.tensor(out)

    def _sides(self, width: int, scales: list[float]) -> tuple[int, int, int]:
        weights, inputs = self.weight.scale.shape[1], len(scales)
        return weights, inputs, max(weights, inputs)

    def _input_sums(self, integers: list[int], scales: list[float]) -> list[float]:
        """Return the sum of the input's integers for each zero point of the weight."""
        if self.weight_format.symmetric:
            return []
        weights, inputs, fine = self._sides(len(integers), scales)
        size, sums = len(integers) // fine, []
        for part in range(fine):
            total: float = integers[part * size]
            for value in integers[part * size + 1 : (part + 1) * size]:
                total = self.zeros.plus(total, value)
            sums.append(total)
        if inputs <= weights:
            return sums
        merged = []
        each = inputs // weights
        for group in range(weights):
            parts = [
                self.zeros.times(sums[i], scales[i], (SUM, SCALE))
                for i in range(group * each, (group + 1) * each)
            ]
            total = parts[0]
            for part in parts[1:]:
                total = self.zeros.plus(total, part)
            merged.append(total)
        return merged

    def _output(self, output, integers, scales, zeros, sums) -> float:
        """Return one number of the output: finer scales first, coarser ones on their sums."""
        weights, inputs, fine = self._sides(len(integers), scales)
        row = 0 if self.weight.scale.shape[0] == 1 else output
        size = len(integers) // fine
        partial = [  # the MACs, which are no overhead
            sum(
                int(self.weight.integers[output, i]) * integers[i]
                for i in range(part * size, (part + 1) * size)
            )
            for part in range(fine)
        ]
        each = fine // weights
        if inputs > weights:
            total = 0.0
            for group in range(weights):
                scaled = [
                    self._input_scale(
                        self._less_input_zero(partial[i], row, output, i, i, zeros), scales[i]
                    )
                    for i in range(group * each, (group + 1) * each)
                ]
                value = self._added(scaled)
                value = self._less_weight_zero(value, row, group, sums)
                value = self._weight_scale(value, row, group, scales)
                total = value if group == 0 else self.rescale.plus(total, value)
            return total
        each, total = weights // inputs, 0.0
        for group in range(inputs):
            scaled = []
            for i in range(group * each, (group + 1) * each):
                value = self._less_weight_zero(partial[i], row, i, sums)
                if each == 1:
                    value = self._less_input_zero(value, row, output, i, group, zeros)
                scaled.append(self._weight_scale(value, row, i, scales))
            value = self._added(scaled)
            if each > 1:
                value = self._less_scaled_input_zero(value, row, output, group, each, zeros)
            if self.static is None:
                value = self._input_scale(value, scales[group])
            total = value if group == 0 else self.rescale.plus(total, value)
        return total

    def _added(self, values: list[float]) -> float:
        total = values[0]
        for value in values[1:]:
            total = self.rescale.plus(total, value)
        return total

    def _weight_scale(self, value, row, group, scales) -> float:
        scale = float(self.weight.scale[row, group])
        if self.static is not None:
            scale *= scales[0]  # before inference
        return self.rescale.times(value, scale, (SUM, SCALE))

    def _input_scale(self, value: float, scale: float) -> float:
        return self.rescale.times(value, scale, (SUM, SCALE))

    def _less_weight_zero(self, value, row, group, sums) -> float:
        if self.weight_format.symmetric:
            return value
        zero = float(self.weight.zero[row, group])
        return self.zeros.plus(value, -self.zeros.times(zero, sums[group], (self.w, SUM)))

    def _weight_sum(self, row, output, part, size) -> float:
        """Return a sum of integers of the weight less its zero point: known before inference."""
        weights = self.weight.scale.shape[1]
        group = part * size * weights // self.weight.integers.shape[1]
        numbers = self.weight.integers[output, part * size : (part + 1) * size]
        return float((numbers - self.weight.zero[row, group]).sum())

    def _less_input_zero(self, value, row, output, part, group, zeros) -> float:
        size = self.weight.integers.shape[1] // max(self.weight.scale.shape[1], len(zeros))
        if self.activation_format.symmetric:
            return value
        known = self._weight_sum(row, output, part, size)
        if self.static is not None:
            return value - zeros[0] * known  # part of the bias
        return self.zeros.plus(value, -self.zeros.times(zeros[group], known, (self.a, SUM)))

    def _less_scaled_input_zero(self, value, row, output, group, each, zeros) -> float:
        if self.activation_format.symmetric:
            return value
        size = self.weight.integers.shape[1] // self.weight.scale.shape[1]
        known = sum(
            float(self.weight.scale[row, i]) * self._weight_sum(row, output, i, size)
            for i in range(group * each, (group + 1) * each)
        )
        if self.static is not None:
            return value - zeros[0] * known * float(self.static.scale)  # part of the bias
        return self.zeros.plus(value, -self.zeros.times(zeros[group], known, (self.a, SUM)))


WEIGHTS = {
    "channel": {"granularity": "channel"},
    "g16": {"granularity": "group", "group": 16},
    "g8": {"granularity": "group", "group": 8},
    "tensor": {"granularity": "tensor"},
}
INPUTS = {
    "token": {"granularity": "token"},
    "g16": {"granularity": "token-group", "group": 16},
    "static": {"granularity": "tensor"},
}
TOKENS, OUT, IN = 3, 4, 32


SYMMETRIC = [("full", "restricted"), ("restricted", False), (False, "full"), (False, False)]


@pytest.mark.parametrize("symmetric", SYMMETRIC)
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_count_is_what_integer_loops_execute_and_their_result_is_the_simulated_one(
    weights, inputs, symmetric
):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(OUT, IN, generator=generator)
    x = torch.randn(TOKENS, IN, generator=generator) + 0.3
    of_weight = WeightFormat(**WEIGHTS[weights], symmetric=symmetric[0])
    of_input = ActivationFormat(**INPUTS[inputs], symmetric=symmetric[1])
    precision = Precision(3, 4)
    static = None
    if of_input.is_static:
        low, high = x.min()[None], x.max()[None]
        found = qparams_from_range(low, high, 4, of_input.symmetric)
        static = QParams(float(found.scale), float(found.zero), 4, of_input.symmetric)
    kernel = Kernel(weight, precision, of_weight, of_input, static)
    result = kernel(x)
    # The simulation: dequantized numbers, multiplied.
    size = of_input.group or IN
    blocks = x.unflatten(-1, (-1, size))
    qparams = static or qparams_from_range(*range_of(blocks), 4, of_input.symmetric)
    values = ((quantize(blocks, qparams) - qparams.zero) * qparams.scale).flatten(-2)
    simulated = values.double() @ kernel.weight.dequantize().double().T
    assert (result.double() - simulated).abs().max() <= 1e-5 * simulated.abs().max()
    product = ProductFormat("layer", IN, precision, of_weight, of_input)
    counted = dict(of_group({"layer": (OUT, product)}, TOKENS))
    executed = {
        "rescale": kernel.rescale.bitops,
        "zero_point": kernel.zeros.bitops,
        "ranges": kernel.ranges.bitops,
    }
    assert counted == executed


G32 = WeightFormat(granularity="group", group=32, symmetric=False)
TOKEN_G32 = ActivationFormat(granularity="token-group", group=32, symmetric=False)


def test_a_layer_of_128_by_128_in_groups_of_32_by_hand():
    product = ProductFormat("layer", 128, Precision(3, 3), G32, TOKEN_G32)
    counted = dict(of_group({"layer": (128, product)}, 16))
    # 16 tokens x 128 outputs x 4 partial sums: two scales of 16 x 16, and 3 additions of sums.
    assert counted["rescale"] == 16 * 128 * (4 * 2 * 256 + 3 * 16) == 4_292_608
    # For each partial sum two zero points of 3 bits times sums of 16, each with an addition; for
    # each of 16 rows the sums of 4 times 32 integers, once.
    zeros = 16 * 128 * 4 * 2 * (3 * 16 + 16) + 16 * 4 * 31 * 16
    assert counted["zero_point"] == zeros == 1_080_320
    # Quantization of 128 numbers, minimum and maximum of 4 times 32, and for each group its scale,
    # the reciprocal and the zero point.
    row = 128 * (256 + 16) + 2 * 4 * 31 * 16 + 4 * (3 * 256 + 16)
    assert counted["ranges"] == 16 * row == 670_720
    macs = 16 * 128 * 128
    assert 16 <= (counted["rescale"] + counted["zero_point"]) / macs <= 24


def test_the_same_layer_per_channel_and_token():
    formats = WeightFormat(symmetric=False), ActivationFormat(symmetric=False)
    product = ProductFormat("layer", 128, Precision(3, 3), *formats)
    counted = dict(of_group({"layer": (128, product)}, 16))
    assert counted["rescale"] == 16 * 128 * 2 * 256
    assert counted["zero_point"] == 16 * 128 * 2 * (48 + 16) + 16 * 127 * 16
    assert counted["ranges"] == 16 * (128 * 272 + 2 * 127 * 16 + 3 * 256 + 16)


def test_layers_that_read_one_input_quantize_it_once():
    product = ProductFormat("q", 128, Precision(3, 3), G32, TOKEN_G32)
    one = dict(of_group({"q": (128, product)}, 16))
    three = dict(of_group(dict.fromkeys("qkv", (128, product)), 16))
    assert three["ranges"] == one["ranges"]
    assert three["rescale"] == 3 * one["rescale"]
    assert three["zero_point"] == 3 * one["zero_point"] - 2 * 16 * 4 * 31 * 16


def test_a_tensor_core_that_scales_groups_of_32_leaves_zero_points_to_pay():
    product = ProductFormat("layer", 128, Precision(4, 4), G32, TOKEN_G32)
    counted = dict(of_group({"layer": (128, product)}, 16, "microscaling"))
    assert counted["rescale"] == 0
    assert counted["zero_point"] == dict(of_group({"layer": (128, product)}, 16))["zero_point"]
    channels = ProductFormat("layer", 128, Precision(4, 4), WeightFormat(), ActivationFormat())
    assert channels.rescale("microscaling") == channels.rescale()


def test_groups_that_overlap_in_part_are_refused():
    fine = ActivationFormat(granularity="token-group", group=48)
    product = ProductFormat("blocks.0", 96, Precision(4, 4), G32, fine)
    with pytest.raises(BenchError, match="groups of 32 weights and of 48 inputs overlap"):
        product.rescale()


def test_quantized_attention_by_hand():
    """Two heads of 4 channels on 3 tokens at 5 bits, every vector asymmetric and dynamic."""
    counted = dict(of_attention(AttentionProducts("attn", 2, 8, 3, 3), 5))
    outputs = 2 * 3 * 3 + 3 * 8  # of queries and keys, then of weights and values
    # Numbers and the vectors that have a scale: queries, keys, attention weights, values.
    operands = [(24, 6), (24, 6), (18, 6), (24, 8)]
    assert counted["rescale"] == outputs * 2 * 256
    assert counted["zero_point"] == outputs * 2 * (5 * 16 + 16) + (24 + 24 + 18 + 24) * 16
    assert counted["ranges"] == sum(
        n * 272 + 2 * (n - vectors) * 16 + vectors * (3 * 256 + 16) for n, vectors in operands
    )
