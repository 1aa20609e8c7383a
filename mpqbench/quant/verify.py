"""What plugins promise of a layer, checked in every job and by ``mpqbench check`` alike."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..contracts import (
    BranchSize,
    CorrectionSize,
    FittedBranch,
    FittedCorrection,
    FittedTransform,
    Operations,
    Prediction,
    QuantizedWeight,
    TransformSize,
)
from ..core.errors import BenchError
from ..core.formats import WeightFormat, scale_count
from ..cost.count import Operator
from .counting import Executed, held_tensors, information_bits, operations_per_row

BITS = (8, 16)  # of a branch
ROWS = 4  # of the input on which operations are counted


@contextmanager
def of_layer(path: str) -> Iterator[None]:
    """Name the layer in a BenchError that is raised inside."""
    try:
        yield
    except BenchError as error:
        raise type(error)(f"layer {path}: {error}") from error


def expect(condition: Any, sentence: str) -> None:
    """Raise BenchError with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise BenchError(sentence)


def expect_tensor(
    what: str, found: Any, shape: Iterable[int], dtype: torch.dtype = torch.float32
) -> None:
    """Expect a finite tensor of ``shape`` and ``dtype``."""
    expect(isinstance(found, torch.Tensor), f"{what} is a {type(found).__name__}, not a tensor")
    expect(
        found.shape == tuple(shape) and found.dtype == dtype,
        f"{what} is {found.dtype} {tuple(found.shape)}, not {dtype} {tuple(shape)}",
    )
    if dtype.is_floating_point:
        bad = int((~found.isfinite()).sum())
        expect(bad == 0, f"{what} has {bad} numbers that are not finite")


def expect_range(what: str, numbers: torch.Tensor, bits: int) -> None:
    """Expect ``numbers`` to fit in ``bits`` bits, with a sign or without."""
    lowest, highest = (int(end) for end in numbers.aminmax())
    half = 2 ** (bits - 1)
    expect(
        (lowest >= 0 and highest < 2 * half) or (lowest >= -half and highest < half),
        f"{what} run from {lowest} to {highest}; {bits} bits hold {-half} to {half - 1} "
        f"or 0 to {2 * half - 1}",
    )


def expect_integers(made: Any, shape: Iterable[int]) -> None:
    """Expect a QuantizedWeight with int16 integers of ``shape`` (out, in)."""
    kind = type(made).__name__
    expect(isinstance(made, QuantizedWeight), f"round gave a {kind}, not a QuantizedWeight")
    expect_tensor("integers", made.integers, shape, torch.int16)


def expect_bits(made: QuantizedWeight, bits: int) -> None:
    """Expect integers that fit in ``bits``."""
    expect(made.bits == bits, f"the result has {made.bits} bits, not {bits}")
    expect_range("integers", made.integers, bits)


def expect_scales(made: QuantizedWeight, fmt: WeightFormat) -> None:
    """Expect finite scales and zero points, as many as ``fmt`` has."""
    out, width = made.integers.shape
    count = scale_count(out, width, fmt, "a weight")
    for name, part in (("scale", made.scale), ("zero", made.zero)):
        fits = part.ndim == 2 and part.shape[0] in (1, out) and width % part.shape[1] == 0
        expect(fits, f"{name} is {tuple(part.shape)}, not (out or 1, groups)")
        expect_tensor(name, part, part.shape)
        expect(part.numel() == count, f"{name} has {part.numel()} numbers, the format {count}")


def expect_zeros(made: QuantizedWeight, fmt: WeightFormat) -> None:
    """Expect whole zero points that fit in the bits, 0 in a symmetric format."""
    zero = made.zero
    expect(torch.equal(zero, zero.round()), "zero points must be whole numbers")
    expect_range("zero points", zero, made.bits)
    allowed = not fmt.symmetric or not zero.any()
    expect(allowed, "a symmetric format has zero points of 0 alone")


def expect_values(made: QuantizedWeight, given: torch.Tensor, most: float = 1e-6) -> None:
    """Expect ``given`` (out, in) to be ``scale * (integers - zero)``, but for last bits."""
    stored = QuantizedWeight.dequantize(made)
    if torch.equal(given, stored):
        return
    expect_tensor("dequantize()", given, stored.shape)
    far = relative_distance(given, stored)
    expect(
        far <= most,
        f"dequantize() differs from scale * (integers - zero) by {far:.2g} of its size, more than "
        f"{most:g}",
    )


def relative_distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the norm of the difference divided by the norm of ``theirs``."""
    size = theirs.double().norm().clamp(min=1e-300)
    return float((ours.double() - theirs.double()).norm() / size)


def expect_operations(
    declared: Sequence[Operations], multiplications: float, additions: float
) -> None:
    """Expect at least what is executed of either kind, and at most twice the price in all."""
    counts = [
        sum(each.multiplications for each in declared), sum(each.additions for each in declared)
    ]  # fmt: skip
    whole = all(type(count) is int and count >= 0 for count in counts)
    expect(whole, f"operations are whole numbers, not {counts[0]} and {counts[1]}")
    told = f"{counts[0]} multiplications and {counts[1]} additions are declared for a row, and "
    executed = f"{multiplications:g} and {additions:g} are executed"
    covered = multiplications <= counts[0] and additions <= counts[1]
    expect(covered, told + executed)
    bits = declared[0].bits
    price = (multiplications * bits + additions) * bits
    expect(sum(each.bitops for each in declared) <= 2 * price, f"{told}only {executed}")


def expect_transform(fitted: FittedTransform, size: Any, rows: torch.Tensor) -> None:
    """Expect the operations of the declared size, and rows (n, in) that are left alone."""
    expect(isinstance(size, TransformSize), f"size gave {size}, not a TransformSize")
    given = rows.clone()
    moved = fitted.input(given)
    expect_tensor("the input in the new basis", moved, rows.shape)
    expect(torch.equal(given, rows), "the transform writes into its input: give a new tensor")
    parts = size.rotation, size.smoothing
    expect(all(part.bits == 16 for part in parts), "a transform works on numbers of 16 bits")
    expect_operations(parts, *operations_per_row(fitted.input, rows))


def expect_branch_size(fitted: Any, size: Any) -> None:
    """Expect an ``nn.Module`` of the declared ``size``."""
    fits = isinstance(size, BranchSize) and size.bits in BITS
    expect(fits, f"size gave {size}, not a BranchSize of 8 or 16 bits")
    expect(isinstance(fitted, nn.Module), "the branch is no nn.Module")
    expect(fitted.size == size, f"the branch has {fitted.size}, where size gave {size}")


def expect_branch(fitted: FittedBranch, size: Any, rows: torch.Tensor) -> None:
    """Expect ``expect_branch_size``, and rows (n, in) that are left alone.

    The size covers what the branch executes and holds. At most twice the executed operations may be
    declared. Indices count bit by bit; row indices of sparse values may be stored as counts, so
    that only columns are asked for.
    """
    expect_branch_size(fitted, size)
    given = rows.clone()
    with torch.no_grad():
        fitted(given)
    expect(torch.equal(given, rows), "the branch writes into its input: give a new tensor")
    executed = operations_per_row(fitted, rows, products_only=size.bits == 8)
    expect_operations([size.operations], *executed)
    held = held_tensors(fitted)
    whole = [tensor for tensor in held if not tensor.is_floating_point()]
    bits = size.bits * sum(tensor.numel() for tensor in held if tensor.is_floating_point())
    bits += sum(information_bits(each[-1] if each.ndim > 1 else each) for each in whole)
    expect(bits <= size.stored_bits, f"the branch holds {bits} bits, not {size.stored_bits}")


def expect_correction(
    fitted: FittedCorrection, size: Any, prediction: Prediction, latents: torch.Tensor
) -> None:
    """Expect the operations of the declared size, and arguments that are left alone."""
    expect(isinstance(size, CorrectionSize), f"size gave {size}, not a CorrectionSize")
    parts = prediction.noise, prediction.contrast, latents
    # Inference mode runs some matrix products whole, where the counter cannot see them.
    with torch.inference_mode(False), torch.no_grad():
        given = [part.clone() for part in parts]
        with Executed() as executed:
            fitted(Prediction(*given[:2]), given[2])
        same = all(torch.equal(part, own) for part, own in zip(parts, given, strict=True))
    expect(same, "a correction writes into its arguments: give a new tensor")
    images = len(latents)
    counts = executed.multiplications / images, executed.additions / images
    expect_operations([size.operations], *counts)


def expect_tuned(
    layers: Mapping[str, Any],
    rounded: Mapping[str, QuantizedWeight],
    before: Mapping[str, QuantizedWeight],
) -> None:
    """Expect the weights of a trained model on their grids, as fine as ``before``."""
    expect(rounded.keys() == before.keys(), "other layers are rounded than before the tuning")
    for path, weight in rounded.items():
        was, values = before[path], layers[path].weight
        with of_layer(path):
            expect_integers(weight, was.integers.shape)
            expect_bits(weight, was.bits)
            expect(weight.scale.shape == was.scale.shape, "it has other scales than before")
            grid = weight.dequantize().to(values)
            same = torch.equal(values, grid) and values.isfinite().all()
            expect(same, "after tuning its weight is off its grid")


def input_quantizers(layers: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return by path what decides what a quantized layer computes besides its tensors."""
    found = {}
    for path, layer in layers.items():
        parts = (layer, layer.source)
        hooks = [len(p._forward_hooks) + len(p._forward_pre_hooks) for p in parts]
        own = [type(part) for part in parts] + ["forward" in vars(part) for part in parts]
        source = layer.source
        found[path] = [source, source.transform, repr(source.activation), hooks, own]
    return found


def expect_same_inputs(layers: Mapping[str, Any], before: Mapping[str, list[Any]]) -> None:
    """Expect trained layers to quantize their inputs as ``input_quantizers`` found them."""
    for path, parts in input_quantizers(layers).items():
        with of_layer(path):
            expect(parts == before[path], "the tuning changed how its input is quantized")


def expect_counted(layers: Mapping[str, Any], operators: Iterable[Operator]) -> None:
    """Expect every branch of a trained model among ``operators``, with all its numbers."""
    counted = {operator.name for operator in operators}
    for path, layer in layers.items():
        branch: Any = layer.branch
        if branch is not None:
            with of_layer(path):
                added = f"{path}.branch" in counted
                expect(added, "its branch is not counted: call student.add_branch")
                held, told = sum(p.numel() for p in branch.parameters()), branch.size.numbers
                expect(held <= told, f"its branch holds {held} numbers, not {told}")


def probe(width: int, like: torch.Tensor) -> torch.Tensor:
    """Return rows (n, width) float32 of unlike numbers, on which operations are counted."""
    numbers = torch.arange(1.0, ROWS * width + 1, device=like.device) * math.sqrt(2)
    return numbers.sin().reshape(ROWS, width)
