"""The online overhead of quantized products: what inference executes beside MACs of integers.

One rule prices everything (docs/cost.md derives each term): a multiplication of a p-bit by a q-bit
number counts p x q BitOPs, with or without an addition behind it, and an addition, subtraction or
comparison alone counts the bits of its numbers. Scales, partial sums and numbers in floating point
have 16 bits, a zero point as many as the numbers it belongs to.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..core.errors import BenchError
from ..core.formats import ActivationFormat, WeightFormat
from ..core.precision import FULL_BITS, Precision
from ..dit.architecture import AttentionProducts

SOURCES = ("rescale", "zero_point", "ranges", "rotation", "smoothing", "branch", "correction")
MULTIPLICATION = FULL_BITS**2  # of two 16-bit numbers
ADDITION = FULL_BITS

COST_RULE = "integer"  # the rule of every record
MICROSCALING_GROUPS = (16, 32)  # of NVFP4 and of the OCP micro-scaling formats
RULES = {
    "papers": "linear layers alone, at weight bits x activation bits",
    "integer": "everything that inference executes, on hardware that multiplies integers",
    "microscaling": "as integer, where the tensor core applies the scales of groups of 16 or 32",
}


@dataclass(frozen=True)
class ProductFormat:
    """One linear layer's product: its width ``inputs``, its precision, and the formats of it."""

    layer: str
    inputs: int
    precision: Precision
    weight: WeightFormat
    activation: ActivationFormat

    @property
    def weight_groups(self) -> int:
        """How many weight scales one output has; 0 where the weight is in floating point."""
        if self.precision.weight is None:
            return 0
        return self.inputs // (self.weight.group or self.inputs)

    @property
    def input_groups(self) -> int:
        """How many scales one row of the input has; 0 where the input is in floating point."""
        if self.precision.activation is None:
            return 0
        return self.inputs // (self.activation.group or self.inputs)

    @property
    def segments(self) -> int:
        """The partial sums of one output, each with one pair of scales.

        Raises BenchError where the groups of neither side divide those of the other.
        """
        fine, coarse = sorted((self.weight_groups or 1, self.input_groups or 1), reverse=True)
        if fine % coarse:
            raise BenchError(
                f"layer {self.layer}: groups of {self.weight.group} weights and of "
                f"{self.activation.group} inputs overlap in part: one must divide the other"
            )
        return fine

    @property
    def _fixed_input(self) -> bool:
        """Whether the input's scale and zero point are known before inference."""
        return self.activation.is_static

    def rescale(self, rule: str = COST_RULE) -> int:
        """Return the BitOPs of scaling one output, and of adding its partial sums.

        Each scale of a weight group and of an input group is one multiplication; a static scale of
        the input is part of the weight's.
        """
        scales = self.weight_groups + self.input_groups
        if self._fixed_input and self.weight_groups and self.input_groups:
            scales -= self.input_groups
        additions = self.segments - 1
        if rule == "microscaling":
            sides = (
                (self.weight_groups, self.weight.group),
                (0 if self._fixed_input else self.input_groups, self.activation.group),
            )
            in_core = [count for count, group in sides if group in MICROSCALING_GROUPS]
            scales -= sum(in_core)
            additions -= max(in_core, default=1) - 1
        return scales * MULTIPLICATION + additions * ADDITION

    def zero_points(self) -> tuple[int, int]:
        """Return the BitOPs of zero points for one output, and for one row of the input.

        For one output, a zero point of the weight multiplies the sum of the input's integers, and
        one of the input multiplies a sum of weights that is known before inference; a static zero
        point of the input is part of the bias. For one row, the sums of the input's integers are
        computed once for all outputs.
        """
        output = row = 0
        if self.weight_groups and not self.weight.symmetric:
            bits = self.precision.weight_bits
            output += self.weight_groups * (bits * FULL_BITS + ADDITION)
            row += (self.inputs - self.segments) * ADDITION
            if self.input_groups > self.weight_groups:  # sums of groups, each with its scale
                row += self.input_groups * MULTIPLICATION
                row += (self.input_groups - self.weight_groups) * ADDITION
        if self.input_groups and not self.activation.symmetric and not self._fixed_input:
            bits = self.precision.activation_bits
            output += self.input_groups * (bits * FULL_BITS + ADDITION)
        return output, row

    def ranges(self) -> int:
        """Return the BitOPs of quantizing one row of the input, with its ranges if dynamic."""
        groups = self.input_groups
        if not groups:
            return 0
        symmetric, dynamic = bool(self.activation.symmetric), not self._fixed_input
        return quantization(self.inputs, groups, symmetric, dynamic)


def quantization(numbers: int, vectors: int, symmetric: bool, dynamic: bool = True) -> int:
    """Return the BitOPs of quantizing ``numbers`` that are in ``vectors`` with a scale each.

    A number is multiplied by the reciprocal of the scale, and rounded with its zero point by one
    addition. A dynamic range takes a comparison a number for each end, and for each vector the
    scale and its reciprocal, with a zero point also a difference and one multiplication more.
    """
    total = numbers * (MULTIPLICATION + ADDITION)
    if dynamic:
        ends = 1 if symmetric else 2
        total += ends * (numbers - vectors) * ADDITION
        total += vectors * ((1 + ends) * MULTIPLICATION + (0 if symmetric else ADDITION))
    return total


def of_group(
    products: dict[str, tuple[int, ProductFormat]], tokens: int, rule: str = COST_RULE
) -> Iterator[tuple[str, int]]:
    """Yield source and BitOPs in one forward of a group of layers that read one input.

    ``products`` has the outputs and the format of each layer by path. The input is quantized, and
    its integers are summed, once for all layers.
    """
    first = next(iter(products.values()))[1]
    zero_row = first.zero_points()[1]
    outputs = products.values()
    yield "rescale", tokens * sum(n * product.rescale(rule) for n, product in outputs)
    zeros = sum(n * product.zero_points()[0] for n, product in outputs)
    yield "zero_point", tokens * (zeros + zero_row)
    yield "ranges", tokens * first.ranges()


def of_attention(products: AttentionProducts, bits: int) -> Iterator[tuple[str, int]]:
    """Yield source and BitOPs of an attention whose operands are quantized to ``bits`` (see quant).

    Every operand has dynamic asymmetric ranges: queries and keys for each token and head, attention
    weights for each query, values for each channel.
    """
    _, heads, width, queries, keys, _ = products
    scores = heads * queries * keys
    operands = (
        (queries * width, queries * heads), (keys * width, keys * heads),
        (scores, heads * queries), (keys * width, width),
    )  # fmt: skip
    outputs = scores + queries * width
    yield "rescale", 2 * outputs * MULTIPLICATION
    # The sums of both operands' integers, less the product of both zero points.
    sums = sum(numbers for numbers, _ in operands) * ADDITION
    yield "zero_point", 2 * outputs * (bits * FULL_BITS + ADDITION) + sums
    yield "ranges", sum(quantization(*operand, symmetric=False) for operand in operands)


def of_branch(inputs: int, outputs: int, between: int) -> int:
    """Return the BitOPs of one row of an 8-bit branch beside its products.

    Its input and the ``between`` numbers that pass from product to product are quantized for each
    row, asymmetric; the results of every product are scaled by both scales, and corrected for the
    zero point of the input.
    """
    scaled = 2 * MULTIPLICATION + 8 * FULL_BITS + ADDITION
    moved = quantization(inputs, 1, symmetric=False)
    if between:
        moved += quantization(between, 1, symmetric=False)
    return moved + (between + outputs) * scaled
